#!/usr/bin/env bash
# Calls the deployed app and checks what it answers.
APP_HOST=${APP_HOST:-chat.localhost}
source "$(dirname "$0")/../expect.sh"

json='content-type: application/json'
mark="mark-$RANDOM$RANDOM"

call GET /
is 'shows its page' "$status $(header content-type)" '200 text/html; charset=utf-8'

call GET /realtime/topics/room.lobby
is 'lets nobody listen without a token' "$status" 401
call POST /rooms/lobby --header "$json" --data '{"text": "Hello"}'
is 'or speak without a pass' "$status" 401
call GET /rooms/lobby
is 'or read' "$status" 401

call POST /members --header "$json" --data '{"name": "Ada"}'
is 'lets somebody in' "$status $(member name)" '200 Ada'
pass="x-pass: $(member pass)"
listen /realtime/topics/room.lobby --header "authorization: Bearer $(member token)"
call POST /rooms/lobby/typing --header "$pass"
is 'hears that somebody types' "$status" 204
heard '"typing":"Ada"'
call POST /rooms/lobby --header "$pass" --header "$json" --data "{\"text\": \"$mark <b>\"}"
is 'and what was said' "$status" 201
heard "$mark <b>"
call GET /rooms/lobby --header "$pass"
has 'remembers it' "$body" "$mark <b>"
call GET /rooms/kitchen --header "$pass"
has_no 'in its room' "$body" "$mark"

call POST /rooms/attic --header "$pass" --header "$json" --data '{"text": "Hello"}'
is 'knows its rooms' "$status" 404
call POST /rooms/lobby --header "$pass" --header "$json" --data '{"text": " "}'
is 'refuses to say nothing' "$status" 422
call POST /members --header "$json" --data '{}'
is 'and nobody' "$status" 422
