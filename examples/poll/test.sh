#!/usr/bin/env bash
# Calls the deployed app and checks what it answers.
APP_HOST=${APP_HOST:-poll.localhost}
source "$(dirname "$0")/../expect.sh"

json='content-type: application/json'

call GET /
is 'shows its page' "$status $(header content-type)" '200 text/html; charset=utf-8'
has 'that runs nothing but its own' "$(header content-security-policy)" "script-src 'self' 'nonce-"
call GET /realtime/client.js
is 'with the client it loads' "$status $(header content-type)" '200 text/javascript; charset=utf-8'

call GET /votes
before=$(member tea)
listen /realtime/topics/votes
call POST /votes --header "$json" --data '{"for": "tea"}'
is 'counts a vote' "$status $(member tea)" "200 $((before + 1))"
heard '"topic":"votes"'
has 'and tells who listens' "$frames" "\"tea\":$((before + 1))"

call POST /votes --header "$json" --data '{"for": "gin"}'
is 'refuses what is no choice' "$status" 422
call POST /votes --header "$json" --data '7'
is 'and what is none at all' "$status" 422
