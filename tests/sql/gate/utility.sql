begin; start transaction isolation level serializable, read only, deferrable; begin work; begin transaction read write

commit; end; rollback; abort; commit work and chain; end transaction; rollback and no chain

savepoint a; release savepoint a; release a

rollback to savepoint a; rollback transaction to a

prepare transaction 'gid;1'; commit prepared 'gid'; rollback prepared 'gid'

prepare transaction E'g\'id'; prepare transaction $$gid$$

prepare transaction as select 1

prepare transaction (int) as insert into t values ($1)

prepare p as insert into t values (1)

prepare p (int, text) as update t set a = $1; execute p (1, 'x;'); deallocate p; deallocate all; deallocate prepare p

set work_mem = '64MB'; set local search_path to a, "B;c"; set session characteristics as transaction read only; set transaction isolation level read committed; set constraints all deferred; set time zone 'UTC'; set role none; set session authorization default; set names 'UTF8'

reset all; reset work_mem; discard all; discard plans; show all; show search_path; show time zone

declare c binary insensitive no scroll cursor with hold for select * from t; fetch forward 10 from c; move next in c; close c; close all

copy t (a, b) from stdin with (format csv, header, delimiter ';', quote '"'); copy (select 1) to stdout; copy t to '/data/x' binary; copy t from program 'cat' where a > 1

call p(1, 'a;b'); lock table t in access exclusive mode nowait; lock t

listen c; notify c, 'x;y'; unlisten *; checkpoint; load 'lib'; analyze; analyze verbose t (a, b); vacuum; vacuum (analyze, parallel 2) t; vacuum freeze verbose t

explain select 1; explain analyze verbose select 1; explain (analyze, buffers, format json) select 1; explain (select 1); explain update t set a = 1; explain execute p (1); explain declare c cursor for select 1
