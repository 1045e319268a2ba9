#!/usr/bin/env bash
# certs.sh DIR - a test CA (ca.crt/ca.key), a broker certificate (broker.pem = key + chain, CN=broker, SAN 127.0.0.1/localhost)
# and a client certificate (client.crt/client.key, CN=alice). PKCS#8 keys without a password: what Kafka's PEM stores want.
set -euo pipefail
D=${1:?usage: certs.sh DIR}; mkdir -p "$D"; cd "$D"
[ -f done ] && exit 0
q() { openssl "$@" 2>/dev/null; }
q req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj '/CN=nocturne test CA' -keyout ca.key -out ca.crt \
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
leaf() { # name CN extension-lines
  q req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$2" -keyout "$1.key" -out "$1.csr"
  q x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -out "$1.crt" -extfile <(printf 'basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\n%b\n' "$3")
  cat "$1.key" "$1.crt" > "$1.pem"; rm "$1.csr"
}
leaf broker broker 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth'
leaf client alice 'extendedKeyUsage=clientAuth'
# a stranger: signed by nobody we trust, for the refusal test
q req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj '/CN=mallory' -keyout stranger.key -out stranger.crt
touch done
