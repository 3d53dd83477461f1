#!/usr/bin/env bash
# Calls the deployed app and checks what it answers.
APP_HOST=${APP_HOST:-orders.localhost}
source "$(dirname "$0")/../expect.sh"

json='content-type: application/json'
order() { call POST /orders --header "$json" --data "$1"; }
books() { call GET / && member books; }

# becomes STATE: waits until the last order is that.
becomes() {
    local state path=${status_url#"${status_url%%/api/*}"}
    for _ in $(seq 100); do
        call GET "$path"
        state=$(member state)
        [ "$state" != "$1" ] || { ok "an order becomes $1"; return; }
        sleep 0.1
    done
    fail "an order becomes $1: it is $state"
}

call POST /stock --header "$json" --data 2
is 'books arrive' "$status" 200
before=$(books)

order '{"to": "Ada"}'
status_url=$(member status_url)
is 'accepts an order before it is done' "$status" 202
has 'and says where to ask for it' "$status_url" '/api/v1/outbox/out_'
becomes delivered
is 'it took one book' "$(books)" $((before - 1))

order '{"for": "Ada"}'
status_url=$(member status_url)
becomes dead
has 'and says why' "$body" 'an order says who it is for'
is 'it took none' "$(books)" $((before - 1))

call POST /stock --header "$json" --data '"many"'
is 'refuses what is no number' "$status" 422
