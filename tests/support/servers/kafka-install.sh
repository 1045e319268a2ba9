#!/usr/bin/env bash
# kafka-install.sh DIR - Apache Kafka (broker + tools) from Maven artifacts into DIR/libs. Idempotent.
set -euo pipefail
DIR=${1:?usage: kafka-install.sh DIR}
KAFKA_VERSION=${KAFKA_VERSION:-4.3.1}
mkdir -p "$DIR"; DIR=$(cd "$DIR" && pwd)
if [ "$(cat "$DIR/.version" 2>/dev/null)" = "$KAFKA_VERSION" ]; then echo "kafka: already installed in $DIR"; exit 0; fi
cat > "$DIR/pom.xml" <<P
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka-dist</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$KAFKA_VERSION</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$KAFKA_VERSION</version>
      <exclusions><exclusion><groupId>org.apache.kafka</groupId><artifactId>connect-runtime</artifactId></exclusion></exclusions></dependency>
    <!-- slf4j-api 1.7 comes without a binding: without this one the broker logs nothing at all -->
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.4</version></dependency>
  </dependencies>
</project>
P
rm -rf "$DIR/libs.new"
mvn -B -q -f "$DIR/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
  -DincludeScope=runtime -DoutputDirectory="$DIR/libs.new"
rm -rf "$DIR/libs"; mv "$DIR/libs.new" "$DIR/libs"
cat > "$DIR/log4j2.properties" <<'P'
status = error
appender.c.type = Console
appender.c.name = C
appender.c.layout.type = PatternLayout
appender.c.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = ${sys:kafka.log.level:-INFO}
rootLogger.appenderRef.c.ref = C
P
# a class path in a fixed order (needed by the CDS archive)
ls "$DIR"/libs/*.jar | LC_ALL=C sort | paste -sd: > "$DIR/classpath"
# class-data archives (halve the start time): one for the broker, one for the command-line tools; CDS=0 leaves them out
rm -f "$DIR/kafka.jsa" "$DIR/tools.jsa"
if [ "${CDS:-1}" = 1 ]; then
  HERE=$(cd "$(dirname "$0")" && pwd); T=$(mktemp -d); P=${TRAIN_PORT:-$((20000 + RANDOM % 10000))}
  if JAVA_OPTS="-XX:ArchiveClassesAtExit=$DIR/kafka.jsa.new" "$HERE/kafka-start.sh" "$DIR" "$T" "$P" 1 > /dev/null; then
    JAVA_OPTS="-XX:ArchiveClassesAtExit=$DIR/tools.jsa.new" "$HERE/kafka-run.sh" "$DIR" org.apache.kafka.tools.TopicCommand \
      --bootstrap-server "127.0.0.1:$P" --create --topic warm --partitions 2 > /dev/null 2>&1 || true
    "$HERE/kafka-stop.sh" "$T"
    for a in kafka tools; do [ -f "$DIR/$a.jsa.new" ] && mv "$DIR/$a.jsa.new" "$DIR/$a.jsa"; done
  fi
  rm -rf "$T"
fi
printf '%s' "$KAFKA_VERSION" > "$DIR/.version"
echo "kafka $KAFKA_VERSION: $(ls "$DIR/libs" | wc -l) jars, $(du -sm "$DIR/libs" | cut -f1) MB in $DIR/libs"
