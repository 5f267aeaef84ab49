"""
A PostgreSQL client that speaks bare protocol messages, so that two traces can be laid side by side. It reads
exactly what the server sends and hides nothing; passwords are not its business (trust authentication).
"""
import socket
import struct


def message(kind, body=b""):
    return kind.encode() + struct.pack("!I", len(body) + 4) + body


def query(sql):
    return message("Q", (sql if isinstance(sql, bytes) else sql.encode()) + b"\0")


def parse(sql, name="", types=()):
    return message("P", name.encode() + b"\0" + (sql if isinstance(sql, bytes) else sql.encode()) + b"\0" +
                   struct.pack("!H", len(types)) + b"".join(struct.pack("!I", t) for t in types))


def bind(portal="", statement="", values=()):
    body = portal.encode() + b"\0" + statement.encode() + b"\0" + struct.pack("!HH", 0, len(values))
    for value in values:
        body += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
    return message("B", body + struct.pack("!H", 0))


def describe(what="P", name=""):
    return message("D", what.encode() + name.encode() + b"\0")


def execute(portal="", rows=0):
    return message("E", portal.encode() + b"\0" + struct.pack("!I", rows))


def close(what="S", name=""):
    return message("C", what.encode() + name.encode() + b"\0")


SYNC = message("S")
FLUSH = message("H")
TERMINATE = message("X")
COPY_DONE = message("c")


def copy_data(data):
    return message("d", data)


def copy_fail(why="enough"):
    return message("f", why.encode() + b"\0")


def startup(parameters, protocol=196608):
    body = struct.pack("!I", protocol)
    for name, value in parameters.items():
        body += name.encode() + b"\0" + value.encode() + b"\0"
    body += b"\0"
    return struct.pack("!I", len(body) + 4) + body


def fields(body):
    """The fields of an ErrorResponse or NoticeResponse."""
    found = {}
    for field in body.split(b"\0"):
        if field:
            found[chr(field[0])] = field[1:].decode("utf-8", "replace")
    return found


class Connection:
    def __init__(self, port, user="postgres", database="postgres", timeout=90, login=True, host="127.0.0.1", **more):
        self.socket = socket.create_connection((host, port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.key = None
        self.parameters = {}
        self.ended = False
        if login:
            self.send(startup({"user": user, "database": database, **more}))
            for kind, body in self.until("Z"):
                if kind == "K":
                    self.key = body
                elif kind == "S":
                    name, value = body.split(b"\0")[:2]
                    self.parameters[name.decode()] = value.decode()
                elif kind == "E":
                    raise RuntimeError(fields(body))

    def send(self, *messages):
        self.socket.sendall(b"".join(messages))

    def receive(self):
        """The next message as (kind, body), or None at the end of the stream."""
        while True:
            if len(self.buffer) >= 5:
                length = struct.unpack("!I", self.buffer[1:5])[0] + 1
                if len(self.buffer) >= length:
                    whole, self.buffer = self.buffer[:length], self.buffer[length:]
                    return chr(whole[0]), whole[5:]
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                more = b""
            if not more:
                self.ended = True
                return None
            self.buffer += more

    def until(self, kind, count=1):
        """Messages up to and with the count-th of `kind`, or the end of the stream."""
        got = []
        while count:
            one = self.receive()
            if one is None:
                break
            got.append(one)
            if one[0] in kind:
                count -= 1
        return got

    def talk(self, *messages, ready=1):
        self.send(*messages)
        return self.until("Z", ready)

    def query(self, sql):
        return self.talk(query(sql))

    def close(self):
        try:
            self.send(TERMINATE)
        except OSError:
            pass
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def error_of(messages):
    for kind, body in messages:
        if kind == "E":
            return fields(body)
    return None


def without_table_oids(body):
    """A RowDescription whose columns name no table: temporary tables differ from session to session."""
    count, = struct.unpack("!H", body[:2])
    at, kept = 2, body[:2]
    for _ in range(count):
        end = body.index(b"\0", at) + 1
        kept += body[at:end] + b"\0\0\0\0" + body[end + 4:end + 18]
        at = end + 18
    return kept


def plain(messages, forget=""):
    """A trace to compare: kinds and bodies, with what differs between any two sessions left out. ErrorResponses
    lose the source's place (F L R) and the fields named in `forget`."""
    trace = []
    for kind, body in messages:
        if kind in "EN":
            kept = {k: v for k, v in fields(body).items() if k not in "FLR" + forget}
            trace.append((kind, tuple(sorted(kept.items()))))
        elif kind == "K":
            trace.append((kind, len(body)))
        elif kind == "T":
            trace.append((kind, without_table_oids(body)))
        else:
            trace.append((kind, body))
    return trace
