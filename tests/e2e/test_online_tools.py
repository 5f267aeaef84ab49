"""
Migration tools, unchanged, add a column that the server would have to write the whole table for, while an application
works on it: the tool sees a slower statement and a finished schema, and its next migration finds every row filled.
"""
import json
import pathlib

import psycopg2
import pytest

from harness import run
from online import ask
from online_proxy import APP, Writer, apps, changes, hand_over, online_config

CLIENTS = pathlib.Path(__file__).parent / "clients"
ROWS = 50000
TABLE = """CREATE TABLE items (id bigserial PRIMARY KEY, name text NOT NULL, price int NOT NULL);
INSERT INTO items (name, price) SELECT 'item ' || n, n % 1000 FROM generate_series(1, {0}) n;
""".format(ROWS)
WORK = ["UPDATE items SET price = price + 1 WHERE id = 1 + (random() * {0})::int".format(ROWS - 1),
        "SELECT id, name, price FROM items WHERE id = 1 + (random() * {0})::int".format(ROWS - 1),
        "INSERT INTO items (name, price) VALUES ('new', 1)",
        "DELETE FROM items WHERE id = 1 + (random() * {0})::int".format(ROWS - 1)]
ADD = "ALTER TABLE items ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE"
# What each tool's second migration demands, in SQL: it fails where a row is without its token.
FOUND_SQL = """DO $$ BEGIN
  IF EXISTS (SELECT FROM items WHERE token IS NULL) OR (SELECT count(*) - count(DISTINCT token) FROM items) <> 0 OR NOT
     (SELECT attnotnull FROM pg_attribute WHERE attrelid = 'items'::regclass AND attname = 'token')
  THEN RAISE EXCEPTION 'the column is not complete'; END IF; END $$"""


class Shop:
    def __init__(self, server, database, proxy):
        self.server, self.database, self.proxy, self.port = server, database, proxy, proxy.port
        self.url = "postgresql://%s@127.0.0.1:%d/%s" % (APP, self.port, database)

    def sql(self, text):
        return self.server.sql(text, self.database)

    def application(self):
        return Writer(self.port, self.database, WORK)

    def unique(self):
        """How many unique indexes of one column, token, there are."""
        return int(self.sql("SELECT count(*) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = "
                            "i.indkey[0] WHERE i.indisunique AND i.indisvalid AND a.attname = 'token' AND i.indnatts = 1"))


def check(shop, writer, n=1, unique=True):
    assert writer.errors == [] and writer.n > 50
    assert changes(shop.server, shop.database) == ["complete"] * n
    assert shop.unique() == (1 if unique else 0)


@pytest.fixture
def shop(server, proxy_factory, database):
    hand_over(server, database, TABLE)
    yield Shop(server, database, proxy_factory(server, online_config(server, policy="rules: {create-index: online}")))


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def succeed(command, **more):
    done = run(command, timeout=300, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


# ---- Django ----------------------------------------------------------------------------------------------------------

DJANGO = {
    "settings.py": """
import os
SECRET_KEY = "x"
INSTALLED_APPS = ["shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ["DB"], "USER": "app",
                         "HOST": "127.0.0.1", "PORT": os.environ["DBPORT"]}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
""",
    "shop/__init__.py": "", "shop/migrations/__init__.py": "", "shop/models.py": "",
    "shop/migrations/0001_initial.py": """
from django.db import migrations, models
class Migration(migrations.Migration):
    initial = True
    operations = [migrations.CreateModel("Item", [("id", models.BigAutoField(primary_key=True)),
        ("name", models.TextField()), ("price", models.IntegerField())], {"db_table": "items"})]
""",
    "shop/migrations/0002_token.py": """
from django.db import migrations, models
class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]
    operations = [migrations.RunSQL("%s", "ALTER TABLE items DROP COLUMN token", state_operations=[
        migrations.AddField("Item", "token", models.UUIDField(unique=True, editable=False))])]
""" % ADD,
    "shop/migrations/0003_found.py": """
from django.db import migrations, models
def found(apps, schema_editor):
    items = apps.get_model("shop", "Item").objects
    assert items.filter(token__isnull=True).count() == 0
    counts = items.aggregate(all=models.Count("id"), distinct=models.Count("token", distinct=True))
    assert counts["all"] == counts["distinct"] > 40000
class Migration(migrations.Migration):
    dependencies = [("shop", "0002_token")]
    operations = [migrations.RunPython(found), migrations.RunSQL("%s")]
""" % FOUND_SQL.replace("\n", " "),
}


def django(shop, folder, *words):
    return succeed(["/usr/bin/python3", "-m", "django", *words], cwd=folder, environment={
        "DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": folder, "DB": shop.database, "DBPORT": shop.port})


def test_django(shop, folder):
    write(folder, DJANGO)
    django(shop, folder, "migrate", "--fake", "shop", "0001", "-v", "0")
    with shop.application() as writer:
        django(shop, folder, "migrate", "-v", "0")
    check(shop, writer)
    assert "No planned" in django(shop, folder, "migrate", "--plan").stdout


def test_django_add_field(shop, folder):
    """What Django writes by itself: a default that it takes away again in the same transaction, with a CHECK."""
    write(folder, {**DJANGO, "shop/migrations/0002_token.py": """
from django.db import migrations, models
class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]
    operations = [migrations.AddField("Item", "stock", models.PositiveIntegerField(default=3))]
""", "shop/migrations/0003_found.py": """
from django.db import migrations, models
def found(apps, schema_editor):
    items = apps.get_model("shop", "Item").objects
    assert items.filter(stock=3).count() == items.count() > 40000
class Migration(migrations.Migration):
    dependencies = [("shop", "0002_token")]
    operations = [migrations.RunPython(found)]
"""})
    django(shop, folder, "migrate", "--fake", "shop", "0001", "-v", "0")
    django(shop, folder, "migrate", "-v", "0")


# ---- Alembic ---------------------------------------------------------------------------------------------------------

ALEMBIC = {
    "alembic.ini": "[alembic]\nscript_location = .\n",
    "script.py.mako": "",
    "env.py": """
import os
from alembic import context
from sqlalchemy import create_engine
with create_engine(os.environ["URL"]).connect() as connection:
    context.configure(connection=connection, transaction_per_migration=bool(os.environ.get("EACH")))
    with context.begin_transaction():
        context.run_migrations()
""",
    "versions/1_token.py": """
import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
revision, down_revision = "1", None
def upgrade():
    op.add_column("items", sa.Column("token", postgresql.UUID(as_uuid=True), server_default=sa.text("gen_random_uuid()"),
                                     nullable=False))
def downgrade():
    op.drop_column("items", "token")
""",
    "versions/2_found.py": """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "2", "1"
def upgrade():
    op.create_unique_constraint("items_token_key", "items", ["token"])
def downgrade():
    op.drop_constraint("items_token_key", "items")
""",
    "versions/3_found.py": """
from alembic import op
revision, down_revision = "3", "2"
def upgrade():
    op.execute(\"\"\"%s\"\"\")
def downgrade():
    pass
""" % FOUND_SQL,
}


def test_alembic(shop, folder):
    """Each migration in a transaction of its own, and each finds what the one before it made."""
    write(folder, ALEMBIC)
    with shop.application() as writer:
        succeed(["/usr/bin/python3", "-m", "alembic.config", "upgrade", "head"], cwd=folder, environment={"URL": shop.url, "EACH": "yes"})
    check(shop, writer, n=2)


def test_alembic_all_in_one_transaction(shop, folder):
    """Alembic's own way unless env.py says otherwise. The key waits for the rows as well; the third finds none."""
    write(folder, ALEMBIC)
    command = ["/usr/bin/python3", "-m", "alembic.config", "upgrade"]
    done = run([*command, "head"], cwd=folder, environment={"URL": shop.url})
    assert done.returncode != 0 and "the column is not complete" in done.stderr
    assert changes(shop.server, shop.database) == []
    with shop.application() as writer:
        for revision in ("2", "3"):
            succeed([*command, revision], cwd=folder, environment={"URL": shop.url})
    check(shop, writer, n=2)


# ---- Rails -----------------------------------------------------------------------------------------------------------

def test_rails(shop):
    """ActiveRecord's conversation (its 7.1, unprepared DDL, an advisory lock around, one transaction a migration)."""
    shop.sql("CREATE TABLE schema_migrations (version varchar PRIMARY KEY); ALTER TABLE schema_migrations OWNER TO app")

    def migrate(connection, version, *statements):
        ask(connection, "BEGIN")
        for statement in statements:
            ask(connection, statement)
        ask(connection, "INSERT INTO \"schema_migrations\" (\"version\") VALUES ('%s') RETURNING \"version\"" % version)
        ask(connection, "COMMIT")

    with shop.application() as writer, apps(shop.port, shop.database, application="bin/rails") as rails:
        for setting in ("SET client_min_messages TO 'warning'", "SET standard_conforming_strings = on",
                        "SET SESSION timezone TO 'UTC'"):
            ask(rails, setting)
        assert ask(rails, "SELECT pg_try_advisory_lock(3011276405014498200)") == [(True,)]
        migrate(rails, "20260101000000", "SET LOCAL statement_timeout = 15000",
                'ALTER TABLE "items" ADD "token" uuid DEFAULT gen_random_uuid() NOT NULL',
                'COMMENT ON TABLE "items" IS \'what is sold\'')
        migrate(rails, "20260102000000", 'CREATE UNIQUE INDEX "index_items_on_token" ON "items" ("token")')
        migrate(rails, "20260103000000", FOUND_SQL)
        assert ask(rails, "SELECT pg_advisory_unlock(3011276405014498200)") == [(True,)]
    check(shop, writer, n=2)
    assert shop.sql("SELECT count(*) FROM schema_migrations") == "3"


def test_rails_add_and_index_in_one_migration(shop):
    """The column and an index on it in one transaction, as `t.uuid …, index: {unique: true}` sends them."""
    with shop.application() as writer, apps(shop.port, shop.database, application="bin/rails") as rails:
        ask(rails, "BEGIN")
        ask(rails, 'ALTER TABLE "items" ADD "token" uuid DEFAULT gen_random_uuid() NOT NULL')
        ask(rails, 'CREATE UNIQUE INDEX "index_items_on_token" ON "items" ("token")')
        ask(rails, "COMMIT")
        ask(rails, FOUND_SQL)
    check(shop, writer, n=2)


# ---- knex ------------------------------------------------------------------------------------------------------------

KNEX = {
    "migrations/1_token.js": "exports.up = knex => knex.schema.alterTable('items', t => t.uuid('token').notNullable()"
                             ".defaultTo(knex.raw('gen_random_uuid()')));\nexports.down = () => {};\n",
    "migrations/2_unique.js": "exports.up = knex => knex.schema.alterTable('items', t => t.unique(['token']));\n"
                              "exports.down = () => {};\n",
    "migrations/3_found.js": "exports.up = knex => knex.raw(%s);\nexports.down = () => {};\n" % json.dumps(FOUND_SQL),
}


def test_knex(shop, folder):
    """All migrations of a run in one transaction, which is knex's own way: but for the one that reads the column."""
    write(folder, dict(list(KNEX.items())[:2]))
    with shop.application() as writer:
        command = ["node", CLIENTS / "knex.js", shop.url, folder / "migrations"]
        assert json.loads(succeed(command).stdout) == ["1_token.js", "2_unique.js"]
        write(folder, KNEX)
        assert json.loads(succeed(command).stdout) == ["3_found.js"]
    check(shop, writer, n=2)


# ---- dbmate ----------------------------------------------------------------------------------------------------------

def test_dbmate(shop, folder):
    write(folder, {
        "migrations/20260101000000_token.sql": "-- migrate:up\n%s;\n-- migrate:down\n" % ADD,
        "migrations/20260102000000_found.sql": "-- migrate:up\n%s;\n-- migrate:down\n" % FOUND_SQL,
        "migrations/20260103000000_index.sql": "-- migrate:up transaction:false\nCREATE INDEX items_price ON items (price);\n"
                                               "-- migrate:down\n"})
    with shop.application() as writer:
        succeed([CLIENTS / "node_modules/@dbmate/linux-x64/bin/dbmate", "--no-dump-schema", "--url",
                 shop.url.replace("postgresql:", "postgres:") + "?sslmode=disable", "--migrations-dir", folder / "migrations",
                 "up"])
    check(shop, writer, n=2)
    assert shop.sql("SELECT count(*) FROM schema_migrations") == "3"
