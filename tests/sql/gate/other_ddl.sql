drop table if exists a, b.c, "D;e" cascade

drop index concurrently if exists i

drop view v; drop materialized view m; drop sequence s; drop type t; drop domain d; drop schema s cascade; drop extension e

drop function f(int, text), g; drop procedure p; drop routine r; drop aggregate a(*); drop operator + (int, int); drop operator class o using btree; drop operator family f using btree

drop trigger t on u; drop rule r on t; drop policy p on t; drop cast (a as b); drop transform for t language l; drop event trigger e

drop role a, b; drop user u; drop group g; drop database if exists d with (force); drop tablespace t

drop foreign data wrapper w; drop server s; drop foreign table f; drop user mapping for ann server s; drop publication p; drop subscription s; drop statistics s; drop collation c; drop conversion c; drop language l; drop access method m

drop text search configuration c; drop text search dictionary d; drop text search parser p; drop text search template t; drop owned by ann, current_user cascade

truncate a, only b, c * restart identity cascade

truncate table t

comment on column t.a is 'it''s; here'

comment on table t is null; comment on constraint c on t is E'\'; x'; comment on function f(int) is $$a;b$$

grant select (a, b), update on table t to ann, public with grant option

grant all on all tables in schema s to bob; grant role1, role2 to ann with admin option; grant usage on schema s to group g

revoke grant option for select on t from ann cascade; revoke role1 from bob

reindex table t; reindex (verbose, concurrently) index i; reindex schema concurrently s; reindex database d; reindex system d

cluster; cluster verbose t using i; cluster (verbose) t; cluster i on t

refresh materialized view concurrently m with no data

security label for selinux on table t is 'system_u:object_r;x'

reassign owned by ann, session_user to bob

import foreign schema s limit to (a, b) from server x into local options (c 'd')

vacuum full; vacuum full freeze verbose analyze t (a, b); vacuum (full) t; vacuum (verbose, full true, analyze) t

VACUUM ("full") t

vacuum (U&"f\0075ll") t

explain create table t as select 1

explain analyze verbose create table t as select 1

explain (analyze, costs off) create materialized view m as select 1

explain refresh materialized view m

explain analyze select 1 as a into t

explain (format json) with w as (select 1 as a) select a into t from w

explain analyze (select 1 as a into t)

prepare p as select 1 as a into t

prepare p (int, text) as with w as (select 1 as a) select a into t from w

do $$ begin execute 'alter table t add c int'; end $$

do language plpgsql 'begin null; end'

DO $body$ begin perform 1; -- ; $$
end $body$ language plpgsql; select 1
