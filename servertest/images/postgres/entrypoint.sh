#!/bin/sh
# Makes the database on the first start, then becomes the server as user postgres.
# POSTGRES_PASSWORD and POSTGRES_HOST_AUTH_METHOD mean what they mean in the official image.
set -eu
if [ "$(id -u)" = 0 ]; then
	install -d -o postgres -g postgres -m 0700 "$PGDATA"
	chown -R postgres:postgres "$PGDATA"
	exec setpriv --reuid=postgres --regid=postgres --init-groups /bin/sh "$0" "$@"
fi
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
	echo "${POSTGRES_PASSWORD:-}" >/tmp/password
	initdb --username=postgres --pwfile=/tmp/password --no-sync -D "$PGDATA"
	rm /tmp/password
	echo "host all all all ${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >>"$PGDATA/pg_hba.conf"
fi
exec "$@"
