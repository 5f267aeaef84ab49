-- The tables that effects.tsv speaks of, with rows in them.
CREATE TABLE customers (id bigint PRIMARY KEY);
INSERT INTO customers VALUES (1), (2), (3);
CREATE TABLE orders (
    id bigint PRIMARY KEY, status text, amount integer, customer_id bigint, note varchar(20), payload json,
    created timestamp, CONSTRAINT amount_positive CHECK (amount > 0) NOT VALID);
INSERT INTO orders SELECT g, 'new', g, g, 'note', '{}', now() FROM generate_series(1, 3) g;
CREATE INDEX orders_amount ON orders (amount);
CREATE UNIQUE INDEX orders_status_key ON orders (id, status);
ALTER TABLE orders ADD CONSTRAINT orders_customer FOREIGN KEY (customer_id) REFERENCES customers NOT VALID;
CREATE TABLE events (id bigint, day date) PARTITION BY RANGE (day);
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE events_2025 (id bigint, day date);
INSERT INTO events_2024 VALUES (1, '2024-06-01');
INSERT INTO events_2025 VALUES (1, '2025-06-01');
CREATE TABLE parent (id bigint);
CREATE VIEW order_view AS SELECT id, status FROM orders;
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE DOMAIN plain_number AS integer;
CREATE FUNCTION my_token() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN ''x''; END';
CREATE FUNCTION my_constant() RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ''x''::text';
CREATE FUNCTION my_trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER watch BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION my_trigger();
CREATE RULE quiet AS ON DELETE TO orders DO INSTEAD NOTHING;
