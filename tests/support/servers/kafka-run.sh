#!/usr/bin/env bash
# kafka-run.sh DIR CLASS ARG... - runs one of Kafka's command-line classes.
#   kafka-run.sh DIR org.apache.kafka.tools.TopicCommand --bootstrap-server 127.0.0.1:9092 --create --topic t --partitions 6 --config retention.ms=1000
DIR=$(cd "${1:?}" && pwd); shift
A=tools; [ "${1:-}" = kafka.tools.StorageTool ] && A=kafka
CDS=(); [ -f "$DIR/$A.jsa" ] && CDS=(-XX:SharedArchiveFile="$DIR/$A.jsa")
exec java -Xshare:auto "${CDS[@]}" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xmx256m ${JAVA_OPTS:-} \
  -Dkafka.log.level="${LOG_LEVEL:-WARN}" -Dlog4j2.configurationFile="$DIR/log4j2.properties" -cp "$(cat "$DIR/classpath")" "$@"
