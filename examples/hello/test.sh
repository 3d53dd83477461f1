#!/usr/bin/env bash
# Calls the deployed app and checks what it answers.
APP_HOST=${APP_HOST:-hello.localhost}
source "$(dirname "$0")/../expect.sh"

call GET /
is 'greets the world' "$body" 'Hello, world!'
has 'as text' "$(header content-type)" 'text/plain'

call GET /Ada
is 'greets by the path' "$body" 'Hello, Ada!'

call GET '/?name=Gr%C3%BC%C3%9F%20dich'
is 'greets by the query' "$body" 'Hello, Grüß dich!'

call GET '/?name=Ada&name=Grace'
is 'greets several' "$body" 'Hello, Ada and Grace!'

call GET /Ada --header 'accept: application/json'
is 'answers JSON to whoever asks for it' "$body" '{"greeting":"Hello, Ada!","name":"Ada"}'
has 'and says so' "$(header content-type)" 'application/json'

call POST /Ada
is 'refuses other methods' "$status" 405
