// gcs PORT - fake-gcs-server on 127.0.0.1:PORT, in memory, with the bucket `nocturne`, and with what it lacks of Google's XML API: to upload by a PUT.
package main

import (
	"encoding/json"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

const bucket = "nocturne"

func main() {
	// a bucket is looked for in the path when the host is the public one, else in the name of the host
	server, err := fakestorage.NewServerWithOptions(fakestorage.Options{NoListener: true, PublicHost: "127.0.0.1"})
	if err != nil {
		log.Fatal(err)
	}
	server.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: bucket})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], uploading(server.HTTPHandler())))
}

// Turns each plain upload into one of the JSON API, its condition included; whether a name is free is for the server to say.
// Copies and uploads in parts are none: they go on as they are, and the server refuses them.
func uploading(server http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, isObject := strings.CutPrefix(r.URL.Path, "/"+bucket+"/")
		isPlain := r.URL.RawQuery == "" && r.Header.Get("x-goog-copy-source") == ""
		if r.Method != http.MethodPut || !isObject || !isPlain {
			server.ServeHTTP(w, r)
			return
		}
		query := url.Values{"uploadType": {"media"}, "name": {name}}
		if condition := r.Header.Get("x-goog-if-generation-match"); condition != "" {
			query.Set("ifGenerationMatch", condition)
		}
		upload := r.Clone(r.Context())
		upload.Method = http.MethodPost
		upload.URL = &url.URL{Path: "/upload/storage/v1/b/" + bucket + "/o", RawQuery: query.Encode()}
		answer := httptest.NewRecorder()
		server.ServeHTTP(answer, upload)
		if answer.Code != http.StatusOK {
			http.Error(w, answer.Body.String(), answer.Code)
			return
		}
		var object struct{ Etag, Generation string }
		if err := json.Unmarshal(answer.Body.Bytes(), &object); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		// the XML API says in headers what the JSON API says in its body
		w.Header().Set("ETag", strconv.Quote(object.Etag))
		w.Header().Set("x-goog-generation", object.Generation)
	})
}
