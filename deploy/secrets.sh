#!/bin/sh
# `make secrets`: the secrets of docker-compose.yml, made once; what is there stays. Each container is handed its own
# files, which its user must be able to read; on this machine the folder keeps others out.
set -eu
umask 077
folder=${1:-deploy/secrets}
mkdir -p "$folder"
chmod 700 "$folder"
cd "$folder"

random() {
  od -A n -N 24 -t x1 /dev/urandom | tr -d ' \n'
}

# The file $1 from standard input, all or nothing.
keep() {
  if [ ! -e "$1" ]; then
    cat > "$1.new"
    chmod 444 "$1.new"
    mv "$1.new" "$1"
  fi
}

for name in postgres_password valkey_password grafana_password sider_s3_access_key sider_s3_secret_key; do
  random | keep "$name"
done

printf 'postgresql+psycopg://sider:%s@postgres/sider' "$(cat postgres_password)" | keep sider_database_url
printf 'redis://:%s@valkey:6379/0' "$(cat valkey_password)" | keep sider_broker_url
keep valkey.conf << END
requirepass $(cat valkey_password)
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
save ""
END
keep s3.json << END
{"identities": [{
  "name": "sider",
  "credentials": [{"accessKey": "$(cat sider_s3_access_key)", "secretKey": "$(cat sider_s3_secret_key)"}],
  "actions": ["Admin", "Read", "Write", "List", "Tagging"]
}]}
END
# Without these keys SeaweedFS would hand every object to whoever reaches its inner ports.
keep seaweedfs.toml << END
[jwt.signing]
key = "$(random)"
[jwt.signing.read]
key = "$(random)"
[jwt.filer_signing]
key = "$(random)"
[jwt.filer_signing.read]
key = "$(random)"
END
echo "secrets are in $folder: keep a copy of it"
