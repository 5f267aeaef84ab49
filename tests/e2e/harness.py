"""
Real servers, the real program, real clients: what the end-to-end tests and the benchmarks are made of.

Everything listens on 127.0.0.1, on ports that the kernel picked. PGSLUICE names the program, PGSLUICE_SERVER_BINS the servers ("15=/usr/lib/postgresql/15/bin 18=…").
"""
import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PGSLUICE = os.environ.get("PGSLUICE", str(ROOT / "build" / "asan" / "pgsluice"))
# Freed memory that the sanitizer keeps back would count as the program's own growth.
SANITIZERS = {"ASAN_OPTIONS": "quarantine_size_mb=4:detect_leaks=1"}
AS_SERVER = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []


def server_bins():
    """Version -> folder of its programs."""
    bins = {}
    for word in os.environ.get("PGSLUICE_SERVER_BINS", "").split():
        version, folder = word.split("=", 1)
        bins[int(version)] = pathlib.Path(folder)
    if not bins:
        for folder in pathlib.Path("/usr/lib/postgresql").glob("*/bin"):
            bins[int(folder.parent.name)] = folder
    return bins


def default_version():
    debian = [v for v, f in server_bins().items() if str(f).startswith("/usr/lib/postgresql")]
    return max(debian) if debian else max(server_bins())


_handed_out = set()


def free_port():
    while True:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        if port not in _handed_out:
            _handed_out.add(port)
            return port


def wait_until(what, seconds=20, every=0.05):
    """Waits until what() is true and returns its value."""
    end = time.monotonic() + seconds
    while True:
        value = what()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited %s s in vain for %s" % (seconds, getattr(what, "__name__", what)))
        time.sleep(every)


class Server:
    """A private PostgreSQL."""

    def __init__(self, folder, version, settings=None, hba=None, superuser="postgres"):
        self.version = version
        self.bin = server_bins()[version]
        self.folder = folder
        self.data = folder / "data"
        self.port = free_port()
        self.superuser = superuser
        folder.mkdir()
        folder.chmod(0o755)
        if AS_SERVER:
            shutil.chown(folder, "postgres")
        self._run("initdb", "-D", str(self.data), "-U", superuser, "-A", "trust", "--no-sync", "-E", "UTF8",
                  "--locale=C")
        lines = ["port = %d" % self.port, "listen_addresses = '127.0.0.1'", "fsync = off", "max_connections = 300",
                 "unix_socket_directories = '%s'" % folder, "log_line_prefix = '%m [%p] '", "wal_level = logical",
                 "max_wal_senders = 10"]
        lines += ["%s = %s" % item for item in (settings or {}).items()]
        with self.as_owner(self.data / "postgresql.conf", "a") as conf:
            conf.write("\n".join(lines) + "\n")
        if hba is not None:
            with self.as_owner(self.data / "pg_hba.conf", "w") as file:
                file.write(hba)
        self.start()

    @contextlib.contextmanager
    def as_owner(self, path, mode):
        with open(path, mode) as file:
            yield file
        if AS_SERVER:
            shutil.chown(path, "postgres")

    def _run(self, program, *arguments, check=True):
        done = subprocess.run(AS_SERVER + [str(self.bin / program), *arguments], cwd=self.folder, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        if check and done.returncode:
            raise RuntimeError("%s: %s\n%s" % (program, done.stdout, self.log()))
        return done

    def log(self):
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self):
        # pg_ctl's own output must not keep our pipe open: the server inherits it
        subprocess.run(AS_SERVER + [str(self.bin / "pg_ctl"), "-D", str(self.data), "-w", "-l",
                                    str(self.folder / "log"), "start"], cwd=self.folder, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)

    def stop(self, mode="fast"):
        self._run("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "stop", check=False)

    def reload(self):
        self._run("pg_ctl", "-D", str(self.data), "reload")

    def restart(self):
        self.stop()
        self.start()

    def sql(self, text, database="postgres", user=None):
        """Runs SQL directly, not through the proxy; returns psql's unaligned output."""
        done = subprocess.run(["psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p",
                               str(self.port), "-U", user or self.superuser, "-d", database], input=text, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout.strip()


class Proxy:
    """A running pgsluice."""

    def __init__(self, folder, config, wait=True, environment=None):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.config_path = folder / "pgsluice.yaml"
        self.config_path.write_text(config)
        self.log_path = folder / "pgsluice.log"
        self.log_file = open(self.log_path, "ab")
        before = len(self.log())  # of an earlier one in the same folder
        self.process = subprocess.Popen([PGSLUICE, "serve", "-c", str(self.config_path)], stderr=self.log_file,
                                        stdout=self.log_file, stdin=subprocess.DEVNULL,
                                        env={**os.environ, **SANITIZERS, **(environment or {})})
        if wait:
            wait_until(lambda: " ready" in self.log()[before:] or self.process.poll() is not None, 30)
            if self.process.poll() is not None:
                raise RuntimeError("pgsluice ended: %s" % self.log())

    def log(self):
        return self.log_path.read_text(errors="replace")

    def reload(self, config=None):
        """Writes the configuration, if given, sends SIGHUP and waits until the log tells the outcome."""
        before = self.log()
        if config is not None:
            self.config_path.write_text(config)
        self.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "reload" in self.log()[len(before):], 20)
        return self.log()[len(before):]

    def memory_kb(self):
        for line in open("/proc/%d/status" % self.process.pid):
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        return 0

    def stop(self, how=signal.SIGTERM, seconds=20):
        if self.process.poll() is None:
            self.process.send_signal(how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(2 if how == signal.SIGTERM else seconds)
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
                try:
                    self.process.wait(seconds)
                except subprocess.TimeoutExpired:
                    self.process.kill()
                    self.process.wait()
                    raise AssertionError("pgsluice did not end after two SIGTERM:\n" + self.log())
        self.log_file.close()
        return self.process.returncode


def basic_config(server, port, extra="", folder=None):
    text = "listen: [{address: 127.0.0.1, port: %d}]\nupstream: {host: 127.0.0.1, port: %d}\n" % (port, server.port)
    if folder is not None:
        text += "audit: {path: %s}\n" % (folder / "audit.log")
    return text + extra


def run(command, environment=None, timeout=120, **keywords):
    """Runs a client; returns the finished process with .stdout and .stderr as text."""
    return subprocess.run([str(c) for c in command], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=timeout, env={**os.environ, **{k: str(v) for k, v in (environment or {}).items()}},
                          **keywords)


def psql(port, text, database="postgres", user="postgres", options=(), environment=None):
    return run(["psql", "-X", "-h", "127.0.0.1", "-p", port, "-U", user, "-d", database, *options], input=text,
               environment=environment)
