#!/usr/bin/env bash
# Calls the deployed app and checks what it answers.
APP_HOST=${APP_HOST:-shortener.localhost}
source "$(dirname "$0")/../expect.sh"

json=(--header 'content-type: application/json' --data)

call GET /
has 'shows a form' "$body" '<form method="post" action="/links">'

call POST /links "${json[@]}" '{"url": "https://example.com/a?b=c&d=%20#e"}'
is 'makes a link' "$status" 201
code=$(member code)
[[ $code =~ ^[A-Za-z0-9]{6}$ ]] || fail "\`$code\` is no code"
is 'tells its address' "$(header location)" "/links/$code"
has 'and its short form' "$(member short_url)" "/$code"

call GET "/$code"
is 'redirects' "$status" 302
is 'to the link as it was given' "$(header location)" 'https://example.com/a?b=c&d=%20#e'

seq 19 | xargs -P 8 -I{} curl --silent --fail --output /dev/null --header "host: $APP_HOST" "$BASE_URL/$code"
call GET "/links/$code"
is 'counts every hit' "$(member hits)" 20

call POST /links --data-urlencode 'url=https://example.com/from a form'
is 'takes forms too' "$status" 201

call GET /nosuch
is 'knows no other code' "$status" 404
has 'and says so to people' "$body" '<h1>No such link</h1>'
call GET /links/nosuch
is 'and to programs' "$(header content-type)" 'application/problem+json'

for wrong in '{"url": "javascript:alert(1)"}' '{"url": "example.com"}' '{"url": 7}' '{}' '[]' 'null'; do
    call POST /links "${json[@]}" "$wrong"
    is "refuses $wrong" "$status $(member field)" '422 url'
done
call POST /links "${json[@]}" "{\"url\": \"https://example.com/$(printf 'x%.0s' {1..2048})\"}"
is 'refuses what is too long' "$status $(member field)" '422 url'
call POST /links
is 'refuses no body' "$status" 422
call POST /links "${json[@]}" '{"url": '
is 'refuses what is no JSON' "$status" 422
