-- The database that the truth is asked of: tables of every kind, each with rows; functions, types, domains, operators
-- and casts whose volatility can't be guessed from their names.
CREATE FUNCTION f_volatile() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';
CREATE FUNCTION f_stable() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
CREATE FUNCTION f_immutable() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
CREATE FUNCTION f_plain() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
CREATE FUNCTION f_over(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION f_over(text) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';
CREATE FUNCTION f_over(int, int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT $1';
CREATE FUNCTION f_default(a int DEFAULT 1) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1';
CREATE FUNCTION f_variadic(VARIADIC int[]) RETURNS int LANGUAGE plpgsql VOLATILE AS 'BEGIN RETURN 1; END';
CREATE FUNCTION f_text(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE SCHEMA shadow;
CREATE FUNCTION shadow.lower(text) RETURNS text LANGUAGE plpgsql VOLATILE AS 'BEGIN RETURN $1; END';
CREATE FUNCTION shadow.random() RETURNS double precision LANGUAGE sql IMMUTABLE AS 'SELECT 0.5::float8';
CREATE FUNCTION shadow.inner_volatile() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';
CREATE FUNCTION op_volatile(int, int) RETURNS int LANGUAGE plpgsql VOLATILE AS 'BEGIN RETURN $1; END';
CREATE OPERATOR +^ (LEFTARG = int, RIGHTARG = int, FUNCTION = op_volatile);
CREATE FUNCTION op_immutable(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + $2';
CREATE OPERATOR +& (LEFTARG = int, RIGHTARG = int, FUNCTION = op_immutable);
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE pair AS (a int, b int);
CREATE FUNCTION cast_volatile(pair) RETURNS int LANGUAGE plpgsql VOLATILE AS 'BEGIN RETURN 1; END';
CREATE CAST (pair AS int) WITH FUNCTION cast_volatile(pair);
CREATE DOMAIN d_plain AS int;
CREATE DOMAIN d_default AS int DEFAULT 7;
CREATE DOMAIN d_volatile AS double precision DEFAULT random();
CREATE DOMAIN d_check AS int CHECK (VALUE > 0);
CREATE DOMAIN d_notnull AS int NOT NULL;
CREATE DOMAIN d_check_default AS int DEFAULT 5 CHECK (VALUE > 0);
CREATE DOMAIN d_notnull_default AS int DEFAULT 5 NOT NULL;
CREATE DOMAIN d_over_plain AS d_plain;
CREATE DOMAIN d_over_check AS d_check;
CREATE SEQUENCE seq;

CREATE TABLE other (id int PRIMARY KEY, code text UNIQUE);
INSERT INTO other SELECT n, 'c' || n FROM generate_series(1, 100) n;
CREATE TABLE keyless (a int);
INSERT INTO keyless VALUES (1);

-- every table under judgement has columns id, v (text), n (int, nullable), m (int NOT NULL)
CREATE TABLE plain (id int PRIMARY KEY, v text, n int, m int NOT NULL DEFAULT 1, vc varchar(20), num numeric(10, 2),
                    ts timestamp, arr int[]);
INSERT INTO plain (id, v, n) SELECT g, 'v' || g, g FROM generate_series(1, 200) g;
CREATE INDEX plain_v ON plain (v);
ALTER TABLE plain ADD CONSTRAINT plain_checked CHECK (n IS NOT NULL);
ALTER TABLE plain ADD CONSTRAINT plain_unproven CHECK (id > 0) NOT VALID;
CREATE UNIQUE INDEX plain_un ON plain (n);
CREATE TABLE empty (id int PRIMARY KEY, v text, n int, m int NOT NULL DEFAULT 1);
CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY, v text, n int, m int NOT NULL DEFAULT 1);
INSERT INTO unlogged SELECT g, 'v', g FROM generate_series(1, 50) g;
CREATE TABLE parent (id int, v text, n int, m int NOT NULL DEFAULT 1) PARTITION BY RANGE (id);
CREATE TABLE part1 PARTITION OF parent FOR VALUES FROM (0) TO (100);
CREATE TABLE part2 PARTITION OF parent FOR VALUES FROM (100) TO (200);
INSERT INTO parent SELECT g, 'v', g FROM generate_series(1, 150) g;
CREATE TABLE elder (id int, v text, n int, m int NOT NULL DEFAULT 1);
CREATE TABLE child () INHERITS (elder);
INSERT INTO elder SELECT g, 'v', g FROM generate_series(1, 20) g;
INSERT INTO child SELECT g, 'v', g FROM generate_series(1, 20) g;
CREATE TABLE rowtype (id int PRIMARY KEY, v text, n int, m int NOT NULL DEFAULT 1);
INSERT INTO rowtype SELECT g, 'v', g FROM generate_series(1, 20) g;
CREATE TABLE uses_rowtype (a int, r rowtype);
INSERT INTO uses_rowtype VALUES (1, NULL);
CREATE TABLE "Quoted Table" (id int PRIMARY KEY, "Two Words" text, v text, n int, m int NOT NULL DEFAULT 1);
INSERT INTO "Quoted Table" SELECT g, 'x', 'v', g FROM generate_series(1, 20) g;
CREATE SCHEMA side;
CREATE TABLE side.apart (id int PRIMARY KEY, v text, n int, m int NOT NULL DEFAULT 1);
INSERT INTO side.apart SELECT g, 'v', g FROM generate_series(1, 20) g;
CREATE TYPE typed_of AS (id int, v text, n int);
CREATE TABLE typed OF typed_of;
CREATE VIEW a_view AS SELECT id, v FROM plain;
CREATE MATERIALIZED VIEW a_matview AS SELECT id, v FROM plain;
-- what ALTER TYPE, constraints and inheritance hang on
CREATE DOMAIN d_varchar AS varchar(20);
CREATE TABLE typing (id int PRIMARY KEY, code varchar(20) NOT NULL, name text, amount numeric(10, 2), small varchar(5),
                     seen timestamp(3), gone timestamptz, span interval, bits varbit(8), fixed char(5), tag d_varchar,
                     many varchar(10)[], num int DEFAULT 5, alias name,
                     CONSTRAINT typing_code CHECK (length(code) > 0), CONSTRAINT typing_small CHECK (small <> '') NOT VALID);
CREATE INDEX typing_name ON typing (name);
CREATE UNIQUE INDEX typing_amount ON typing (amount);
CREATE INDEX typing_lower ON typing (lower(small));
CREATE INDEX typing_partial ON typing (num) WHERE num > 3;
INSERT INTO typing (id, code, amount) SELECT g, 'c' || g, g FROM generate_series(1, 30) g;
CREATE TABLE refers (id int PRIMARY KEY, plain_id int REFERENCES plain, code text);
INSERT INTO refers SELECT g, g, 'c' || g FROM generate_series(1, 30) g;
CREATE UNLOGGED TABLE scratch (id int PRIMARY KEY);
CREATE TABLE deferred (id int, CONSTRAINT deferred_id UNIQUE (id) DEFERRABLE);
CREATE TABLE halved (id int, CONSTRAINT halved_positive CHECK (id IS NOT NULL AND id > 0));
INSERT INTO halved SELECT g FROM generate_series(1, 10) g;
CREATE TABLE barren (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE joining (id int NOT NULL, v text, n int, m int NOT NULL DEFAULT 1,
                      CONSTRAINT joining_bound CHECK (id >= 300 AND id < 400));
CREATE TABLE joining_unproven (id int, v text, n int, m int NOT NULL DEFAULT 1);
CREATE TABLE computed (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED,
                       own int GENERATED ALWAYS AS IDENTITY);
INSERT INTO computed (id) VALUES (1), (2);
ANALYZE;
