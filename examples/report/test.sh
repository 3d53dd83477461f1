#!/usr/bin/env bash
# Calls the deployed app and checks what it answers.
APP_HOST=${APP_HOST:-report.localhost}
source "$(dirname "$0")/../expect.sh"

json='content-type: application/json'

call POST /reports
is 'makes a report of what was there before' "$status" 201

call POST /sales --header "$json" --data '{"item": "tea", "cents": 350}'
is 'takes a sale' "$status" 201
call POST /sales --header "$json" --data '{"item": "tea", "cents": 50}'
call GET /
has 'adds them up' "$body" '"since":{"tea":400}'

call POST /reports
is 'makes a report at once' "$status" 201
is 'with the total' "$(member total_cents)" 400
call GET /
has 'keeps it' "$body" '"total_cents":400'
has 'and begins a new day' "$body" '"since":{}'

call POST /sales --header "$json" --data '{"item": "tea"}'
is 'refuses a sale without a price' "$status" 422
