#!/usr/bin/env python3
"""Write policy/builtin_*.def from the catalogs of real servers.

usage: generate_builtins.py OUTPUT_FOLDER CONNINFO...

One connection string a server, one server for every major version that pgsluice supports, in ascending
order. What is written is what pg_proc, pg_type and pg_operator say there; nothing is added by hand. Needs psql.
"""
import subprocess
import sys

MAX_ARGS = 100  # FUNC_MAX_ARGS

FUNCTIONS = """
SELECT p.proname, p.pronargs - p.pronargdefaults,
       CASE WHEN p.provariadic <> 0 THEN %d ELSE p.pronargs END, p.provolatile
FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f'
""" % MAX_ARGS

TYPES = """
SELECT typname FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace
AND typtype IN ('b', 'r', 'm') AND typname NOT LIKE '\\_%'
"""

OPERATORS = """
SELECT oprname, bool_or(p.provolatile = 'v') FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode
WHERE oprnamespace = 'pg_catalog'::regnamespace GROUP BY 1
"""


def ask(conninfo, query):
    out = subprocess.run(["psql", "-XAt", "-F", "\t", "-d", conninfo, "-c", query],
                         check=True, capture_output=True, text=True).stdout
    return [line.split("\t") for line in out.splitlines()]


def volatility(letters):
    """One word for all overloads that a call with so many arguments may mean."""
    if letters == {"i"}:
        return "IMMUTABLE"
    if "v" not in letters:
        return "STABLE"
    return "VOLATILE" if letters == {"v"} else "MIXED"


def by_argument_count(rows):
    """{name: [word for 0 arguments, word for 1, ...]}; None where no function takes so many."""
    letters = {}
    for name, low, high, letter in rows:
        counts = letters.setdefault(name, [set() for _ in range(MAX_ARGS + 1)])
        for n in range(int(low), int(high) + 1):
            counts[n].add(letter)
    return {name: [volatility(s) if s else None for s in counts] for name, counts in letters.items()}


def runs(words):
    """[(first, last, word)] of equal neighbours."""
    out = []
    for n, word in enumerate(words):
        if out and out[-1][2] == word and out[-1][1] == n - 1:
            out[-1] = (out[-1][0], n, word)
        else:
            out.append((n, n, word))
    return [run for run in out if run[2]]


def spans(present, versions):
    """[(since, until)] of the neighbouring versions in a set; until 0 means the newest known and later."""
    out = []
    for i, version in enumerate(versions):
        if version not in present:
            continue
        if out and out[-1][1] == i - 1:
            out[-1] = (out[-1][0], i)
        else:
            out.append((version, i))
    return [(since, 0 if i == len(versions) - 1 else versions[i]) for since, i in out]


def write(path, head, rows):
    with open(path, "w", encoding="ascii") as file:
        file.write("/* %s\n * Written by generate_builtins.py from the catalogs of real servers: do not edit. */\n" % head)
        file.writelines(rows)


def main():
    folder, servers = sys.argv[1], sys.argv[2:]
    functions, types, operators, versions = {}, {}, {}, []
    for conninfo in servers:
        version = int(ask(conninfo, "SHOW server_version_num")[0][0]) // 10000
        versions.append(version)
        for name, words in by_argument_count(ask(conninfo, FUNCTIONS)).items():
            for run in runs(words):
                functions.setdefault((name,) + run, set()).add(version)
        for (name,) in ask(conninfo, TYPES):
            types.setdefault(name, set()).add(version)
        for name, volatile in ask(conninfo, OPERATORS):
            if volatile != "f":
                sys.exit("operator %s is volatile: the table of operators has no room for that" % name)
            operators.setdefault(name, set()).add(version)
    write(folder + "/builtin_functions.def",
          "BUILTIN_FUNCTION(name, fewest arguments, most, volatility, since version, until version or 0)",
          ['BUILTIN_FUNCTION("%s", %d, %d, %s, %d, %d)\n' % (key + span)
           for key in sorted(functions) for span in spans(functions[key], versions)])
    write(folder + "/builtin_types.def", "BUILTIN_TYPE(name, since version, until version or 0)",
          ['BUILTIN_TYPE("%s", %d, %d)\n' % ((name,) + span)
           for name in sorted(types) for span in spans(types[name], versions)])
    write(folder + "/builtin_operators.def", "BUILTIN_OPERATOR(name): all of them call functions that are not volatile",
          ['BUILTIN_OPERATOR("%s")\n' % name for name in sorted(operators)])


main()
