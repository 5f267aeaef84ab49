// node-postgres at work: node node_postgres.js PORT DATABASE; prints what it saw as JSON.
const { Client, Pool } = require("pg");
const Cursor = require("pg-cursor");

const [port, database] = process.argv.slice(2);
const where = { host: "127.0.0.1", port: Number(port), user: "postgres", database };

async function main() {
  const seen = {};
  const client = new Client(where);
  const notices = [];
  client.on("notice", (notice) => notices.push(notice.message));
  await client.connect();
  seen.simple = (await client.query("SELECT count(*)::int AS n FROM items")).rows;
  seen.several = (await client.query("SELECT 1 AS a; SELECT 2 AS b")).map((result) => result.rows);
  seen.values = (await client.query("SELECT name FROM items WHERE id = $1", [7])).rows;
  const named = { name: "by id", text: "SELECT name FROM items WHERE id = $1" };
  seen.named = [];
  for (const id of [1, 2, 3]) seen.named.push((await client.query({ ...named, values: [id] })).rows);
  const cursor = client.query(new Cursor("SELECT id FROM items ORDER BY id"));
  seen.cursor = [(await cursor.read(10)).length, (await cursor.read(1000)).length];
  await cursor.close();
  seen.error = await client.query("SELECT 1/0").catch((error) => [error.code, error.message]);
  await client.query("DO $$ BEGIN RAISE NOTICE 'hello'; END $$");
  seen.notices = [...notices];
  await client.query("BEGIN");
  seen.bad = await client.query("INSERT INTO items VALUES (1, 'again')").catch((error) => error.constraint);
  seen.aborted = await client.query("SELECT 1").catch((error) => error.code);
  await client.query("ROLLBACK");
  seen.risky = await client
    .query("ALTER TABLE items ADD COLUMN token uuid DEFAULT gen_random_uuid()")
    .then(() => "done", (error) => ({ code: error.code, constraint: error.constraint, hint: error.hint }));
  await client.query("ALTER TABLE items DROP COLUMN IF EXISTS token");
  seen.after = (await client.query("SELECT 1 AS a")).rows;
  await client.end();
  const pool = new Pool({ ...where, max: 5 });
  const many = await Promise.all(Array.from({ length: 100 }, (_, n) => pool.query("SELECT $1::int * 2 AS d", [n])));
  seen.pool = many.map((result) => result.rows[0].d);
  await pool.end();
  console.log(JSON.stringify(seen));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
