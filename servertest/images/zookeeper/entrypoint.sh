#!/bin/sh
# Writes zoo.cfg from the environment, as the official image does, then becomes the server.
set -eu
mkdir -p /conf /data /datalog
{
	echo "dataDir=/data"
	echo "dataLogDir=/datalog"
	echo "tickTime=${ZOO_TICK_TIME:-2000}"
	echo "initLimit=${ZOO_INIT_LIMIT:-5}"
	echo "syncLimit=${ZOO_SYNC_LIMIT:-2}"
	echo "maxClientCnxns=${ZOO_MAX_CLIENT_CNXNS:-60}"
	echo "standaloneEnabled=${ZOO_STANDALONE_ENABLED:-true}"
	echo "admin.enableServer=${ZOO_ADMINSERVER_ENABLED:-true}"
	[ -z "${ZOO_4LW_COMMANDS_WHITELIST:-}" ] || echo "4lw.commands.whitelist=$ZOO_4LW_COMMANDS_WHITELIST"
	for line in ${ZOO_SERVERS:-} ${ZOO_CFG_EXTRA:-}; do echo "$line"; done
	[ -n "${ZOO_SERVERS:-}" ] || echo "clientPort=2181"
} >/conf/zoo.cfg
echo "${ZOO_MY_ID:-1}" >/data/myid
exec java ${JVMFLAGS:--Xmx256m} -Dorg.slf4j.simpleLogger.defaultLogLevel=info \
	-cp /usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar:/usr/share/java/netty-codec.jar \
	org.apache.zookeeper.server.quorum.QuorumPeerMain /conf/zoo.cfg
