# Sourced by deploy/quickstart and tests/run: what has to be installed, and how. Debian 12 and 13.
#
#   packages_install NAME…     those that are missing, through apt-get (with sudo where we are not root)
#   packages_build             what it takes to build pgsluice
#   packages_server            a PostgreSQL server of Debian's own, without letting it start a cluster

packages_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo -n true 2>/dev/null || echo "installing packages needs root: sudo may ask for your password" >&2
    sudo "$@"
  else
    echo "These packages are missing and need root to be installed: ${packages_missing[*]}" >&2
    echo "Run as root:  apt-get install ${packages_missing[*]}" >&2
    return 1
  fi
}

packages_install() {
  packages_missing=()
  local name
  for name in "$@"; do
    dpkg-query -W -f '${Status}\n' "$name" 2>/dev/null | grep -q 'ok installed' || packages_missing+=("$name")
  done
  [ ${#packages_missing[@]} -gt 0 ] || return 0
  echo "installing: ${packages_missing[*]}"
  if [ -z "${packages_updated:-}" ]; then
    packages_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq || return 1
    packages_updated=yes
  fi
  local said
  said=$(packages_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -o Dpkg::Use-Pty=0 "${packages_missing[@]}" 2>&1) || {
    printf '%s\napt-get could not install: %s\n' "$said" "${packages_missing[*]}" >&2
    return 1
  }
}

packages_build() {
  packages_install gcc libc6-dev cmake ninja-build pkg-config libpg-query-dev libev-dev libssl-dev libpq-dev \
    libtalloc-dev libyaml-dev libjansson-dev libmicrohttpd-dev libxxhash-dev uthash-dev libsystemd-dev \
    libcmocka-dev
}

packages_server() {
  ls -d /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && { packages_install postgresql-client; return; }
  packages_install postgresql-common || return 1
  # Debian starts a cluster when a server is installed; ours is private, so none is wanted.
  local conf=/etc/postgresql-common/createcluster.conf
  if [ -e $conf ] && ! grep -q '^create_main_cluster' $conf; then
    packages_root sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' $conf
  fi
  packages_install postgresql postgresql-client
}
