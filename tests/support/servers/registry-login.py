#!/usr/bin/env python3
# registry-login.py PORT KEY USER:PASSWORD - plays the identity provider behind a secured registry (registry-start.sh), on 127.0.0.1:PORT.
# Apicurio knows no users of its own: it gives a request's name and password to an OpenID Connect server, and believes the token that it gets for them.
# This one knows one user. Tokens are signed with KEY (PEM, RSA), by openssl, because Python's own library does not sign.
import base64, http.server, json, subprocess, sys, time, urllib.parse


def openssl(*args, given=b""):
    return subprocess.run(["openssl", *args], input=given, stdout=subprocess.PIPE, check=True).stdout


def text(value):
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


port, key, login = int(sys.argv[1]), sys.argv[2], sys.argv[3]
issuer = f"http://127.0.0.1:{port}"
modulus = openssl("rsa", "-in", key, "-noout", "-modulus").decode().strip().split("=")[1]
now = int(time.time())
unsigned = text({"alg": "RS256", "kid": "1"}) + "." + text({"iss": issuer, "sub": login.split(":")[0], "iat": now, "exp": now + 86400})
token = unsigned + "." + text(openssl("dgst", "-sha256", "-sign", key, given=unsigned.encode()))
GET = {
    "/.well-known/openid-configuration": {"issuer": issuer, "jwks_uri": issuer + "/keys", "token_endpoint": issuer + "/token"},
    "/keys": {"keys": [{"kty": "RSA", "kid": "1", "use": "sig", "alg": "RS256", "n": text(bytes.fromhex(modulus)), "e": "AQAB"}]},
}


class Provider(http.server.BaseHTTPRequestHandler):
    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        found = GET.get(self.path)
        self.answer(200 if found else 404, found)

    def do_POST(self):
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers.get("content-length", 0))).decode())
        given = ":".join(form.get(field, [""])[0] for field in ("client_id", "client_secret"))
        if given == login:
            self.answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": 3600})
        else:
            self.answer(401, {"error": "invalid_client"})

    def log_message(self, *_):
        pass  # what was asked is the registry's to log


http.server.ThreadingHTTPServer(("127.0.0.1", port), Provider).serve_forever()
