#!/usr/bin/env bash
# kafka-start.sh DIR DATA PORT [N] - starts N (1 or 3) combined broker+controller nodes from DIR (see kafka-install.sh).
# Brokers listen on 127.0.0.1:PORT, PORT+1, PORT+2; controllers on PORT+100 ...
# Formats what is not formatted yet; starts only the nodes that are not alive, so it also revives killed ones.
# SESSION_MS=2000: how long a killed broker keeps its registration (its own restart has to wait for that, and failover takes it too).
# HEAP=256m; EXTRA=file appended to every node's server.properties (later keys win; @PORT@ @P10@..@P40@ @P100@ @ID@ @DATA@ are filled in);
# FORMAT_ARGS='--add-scram ...' goes to the formatter. Stop: kafka-stop.sh DATA [-9] [node].
set -euo pipefail
DIR=$(cd "${1:?usage: kafka-start.sh DIR DATA PORT [N]}" && pwd); DATA=${2:?}; PORT=${3:?}; N=${4:-1}
HEAP=${HEAP:-256m}; HERE=$(cd "$(dirname "$0")" && pwd)
CLUSTER_ID=${CLUSTER_ID:-bm9jdHVybmUtdGVzdC1rYQ}
mkdir -p "$DATA"; DATA=$(cd "$DATA" && pwd)
RF=$(( N < 3 ? 1 : 3 )); ISR=$(( N < 3 ? 1 : 2 ))
VOTERS=""; for i in $(seq 1 "$N"); do VOTERS+="${VOTERS:+,}$i@127.0.0.1:$((PORT + 99 + i))"; done
started=()
for i in $(seq 1 "$N"); do
  nd="$DATA/n$i"; p=$((PORT + i - 1)); mkdir -p "$nd"
  if [ -f "$nd/pid" ] && kill -0 "$(cat "$nd/pid")" 2>/dev/null; then continue; fi
  cat > "$nd/server.properties" <<P
process.roles=broker,controller
node.id=$i
controller.quorum.voters=$VOTERS
listeners=PLAINTEXT://127.0.0.1:$p,CONTROLLER://127.0.0.1:$((PORT + 99 + i))
advertised.listeners=PLAINTEXT://127.0.0.1:$p
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=$nd/data
auto.create.topics.enable=false
num.partitions=1
default.replication.factor=$RF
min.insync.replicas=$ISR
offsets.topic.replication.factor=$RF
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=$RF
transaction.state.log.min.isr=$ISR
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=$RF
share.coordinator.state.topic.min.isr=$ISR
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=2
background.threads=2
num.replica.fetchers=1
num.recovery.threads.per.data.dir=2
group.coordinator.threads=1
share.coordinator.threads=1
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=4194304
log.index.size.max.bytes=1048576
broker.heartbeat.interval.ms=300
broker.session.timeout.ms=${SESSION_MS:-2000}
controlled.shutdown.max.retries=1
controller.quorum.election.timeout.ms=500
controller.quorum.fetch.timeout.ms=1500
controller.quorum.election.backoff.max.ms=500
P
  if [ -n "${EXTRA:-}" ]; then  # @Pn@ = the node's port + n
    sed -e "s|@PORT@|$p|g; s|@ID@|$i|g; s|@DATA@|$DATA|g; s|@P10@|$((p + 10))|g; s|@P20@|$((p + 20))|g; s|@P30@|$((p + 30))|g; s|@P40@|$((p + 40))|g; s|@P100@|$((p + 100))|g" "$EXTRA" >> "$nd/server.properties"
  fi
  CDS=(); [ -f "$DIR/kafka.jsa" ] && CDS=(-XX:SharedArchiveFile="$DIR/kafka.jsa")
  # shellcheck disable=SC2086
  [ -f "$nd/data/meta.properties" ] || LOG_LEVEL=ERROR "$HERE/kafka-run.sh" "$DIR" kafka.tools.StorageTool format -t "$CLUSTER_ID" -c "$nd/server.properties" ${FORMAT_ARGS:-} > "$nd/format.log" 2>&1 \
    || { cat "$nd/format.log" >&2; exit 1; }
  : > "$nd/log"
  # shellcheck disable=SC2086
  setsid nohup java -Xshare:auto "${CDS[@]}" -Xms"$HEAP" -Xmx"$HEAP" -XX:+UseSerialGC ${JVM_OPTS:--XX:TieredStopAtLevel=1} -XX:+ExitOnOutOfMemoryError \
    -Djava.net.preferIPv4Stack=true -Dkafka.log.level="${LOG_LEVEL:-INFO}" -Dlog4j2.configurationFile="$DIR/log4j2.properties" \
    ${JAVA_OPTS:-} -cp "$(cat "$DIR/classpath")" kafka.Kafka "$nd/server.properties" < /dev/null >> "$nd/log" 2>&1 &
  echo $! > "$nd/pid"; started+=("$i")
done
fail() { # a start that fails leaves nothing running
  echo "kafka: node $1 $2" >&2; grep -E ' (ERROR|FATAL) |Caused by|Exception' "$DATA/n$1/log" | cut -c1-300 | tail -8 >&2
  for k in "${started[@]}"; do "$HERE/kafka-stop.sh" "$DATA" -9 "$k"; done; exit 1
}
deadline=$((SECONDS + ${START_TIMEOUT:-60}))
for i in "${started[@]}"; do
  until grep -q 'Kafka Server started' "$DATA/n$i/log"; do
    kill -0 "$(cat "$DATA/n$i/pid")" 2>/dev/null || fail "$i" died
    [ $SECONDS -lt $deadline ] || fail "$i" "not ready in time"
    sleep 0.05
  done
done
echo "kafka: ready, bootstrap $(for i in $(seq 1 "$N"); do printf '127.0.0.1:%s,' $((PORT + i - 1)); done | sed 's/,$//')"
