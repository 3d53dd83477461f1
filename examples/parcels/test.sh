#!/usr/bin/env bash
# Calls the deployed app and checks what it answers. What the gateway does is not this test's to know.
APP_HOST=${APP_HOST:-parcels.localhost}
source "$(dirname "$0")/../expect.sh"

json='content-type: application/json'

call POST /orders --header "$json" --data '{"to": "Ada"}'
is 'accepts an order' "$status" 202
id=$(member id)
is 'and says where to ask for it' "$(header location)" "/orders/$id"
call GET "/orders/$id"
is 'knows the order' "$status" 200
is 'and whom it is for' "$(member to)" Ada
has 'and that it is on its way, or there' "$(member state)" "i"

call GET /
has 'lists it' "$body" "$id"

call POST /orders --header "$json" --data '{"for": "Ada"}'
is 'refuses an order for nobody' "$status" 422
call GET /orders/none
is 'knows no other order' "$status" 404
