select 1

SELECT a, b.*, count(*) filter (where x > 1) over (partition by y order by z rows between 1 preceding and current row) from t a left join lateral (select 1) b on true where a.b in (1, 2, 3) and c = any ('{1,2}') group by rollup (a, b) having count(*) > 1 order by 1 desc nulls last limit 10 offset 5 for update of a skip locked

select 'a;b', E'c\';d', $$e;f$$, $x$g$$;$y$h$x$, "i;j", U&'k\003b' , U&"l\003bm" uescape '!', b'101', x'ff', n'x;y', 1e5, .5, 1., 1.5e-3, $1 from t

select a--b;c
, d/* e; /* f; */ g; */, h from t

select 1 + -2, a <-> b, c @> d, e ->> 'f', g #>> '{h}', i ~* 'j', k !~ l, m <= n, o <> p, q != r, -s, @ t, |/ u, v::int, w[1:2], x.y[3].z

select a -/* comment */ b, c +-- line
d, e */* x */ f

select 'one'
'two'
   'three', -- comment;
 'b', E'x\''
'y\';z'

select case a when 1 then 'x;' else (select max(b) from t) end, case when a then case when b then 1 end end from t

select interval '1' day, date '2020-01-01', timestamp with time zone '2020-01-01 00:00', cast(a as numeric(3,1)), extract(year from b), position('a' in b), substring(c from 1 for 2), trim(both ' ' from d), overlay(e placing f from 1), xmlelement(name g, h)

values (1, ';'), (2, '(')

table only t

(select 1) union all (select 2) intersect select 3 except values (4) order by 1

((select 1))

select * from (values (1, 2)) v(a, b), generate_series(1, 3) g, rows from (f(1), g(2)) with ordinality as r

select distinct on (a) a, row(1, 2), array[1, 2, 3], array(select 1), (a).b, a is not null, b is distinct from c, d between 1 and 2, e like 'x%' escape '\', f similar to 'y', exists (select 1), not g from t

with w as (insert into t values (1) returning *) select * from w

with w as (select 1) insert into t select * from w

with w(a) as not materialized (select 1), v as (delete from t returning a) update t set a = v.a from v

with recursive w(a, b) as (select 1, 2 union all select a + 1, b from w) delete from t using w where t.a = w.a

insert into t (a, b) values (1, 'it''s'), (default, $1) on conflict (a) where b is null do update set a = excluded.a where t.a > 1 returning *, a as c

insert into t default values

insert into t overriding system value select * from u

update only t as x set a = 1, (b, c) = (2, 3), (d, e) = (select 4, 5), f[1] = 6 from u where x.id = u.id returning x.*

update t set a = 1 where current of c

delete from t using u where t.a = u.a returning t.a

merge into t using s on t.a = s.a when matched and s.b then update set c = s.c when matched then delete when not matched then insert (a) values (s.a)

select $1, $2::text, $3 + $4 from a$b$c, "a$b" where d$ = $5

select µ, straße, "größe;", 'naïve;' from tëst where ñ = '日本語'

select 1;select 2 ; ; select 3;;

;;;

-- nothing but a comment; here

/* and /* nested; */ here; */

select 1 /* ; */ ; -- ;
select 2

select * from t where a = '\' and b = '\\'

select a from t order by b using <, c using >

select * from json_each('{"a;":1}'), t tablesample system (10) repeatable (1)
