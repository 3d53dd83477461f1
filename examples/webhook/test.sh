#!/usr/bin/env bash
# Calls the deployed app and checks what it answers.
APP_HOST=${APP_HOST:-webhook.localhost}
source "$(dirname "$0")/../expect.sh"

key=$(echo MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw | base64 -d | od -An -tx1 | tr -d ' \n')
now=$(date +%s)
id="msg_$now$RANDOM$RANDOM"
paid='{"type": "invoice.paid", "data": {"amount_cents": 4200}}'

# sign ID TIME BODY
sign() {
    printf '%s.%s.%s' "$1" "$2" "$3" | openssl dgst -sha256 -mac hmac -macopt "hexkey:$key" -binary | base64
}

# deliver ID TIME BODY SIGNATURE
deliver() {
    call POST /hooks --header 'content-type: application/json' --data "$3" \
        --header "webhook-id: $1" --header "webhook-timestamp: $2" --header "webhook-signature: $4"
}

balance() { call GET /balance && member cents; }

before=$(balance)

deliver "$id" "$now" "$paid" "v1,$(sign "$id" "$now" "$paid")"
is 'accepts what is signed' "$status $(member status)" '200 accepted'
is 'and counts it' "$(balance)" $((before + 4200))

deliver "$id" "$now" "$paid" "v1,$(sign "$id" "$now" "$paid")"
is 'knows a second delivery' "$status $(member status)" '200 duplicate'
is 'and does not count it again' "$(balance)" $((before + 4200))

deliver "$id-2" "$now" "$paid" "v1,AAAA v1,$(sign "$id-2" "$now" "$paid")"
is 'accepts one good signature among several' "$(member status)" accepted

body='{"type": "invoice.created"}'
deliver "$id-3" "$now" "$body" "v1,$(sign "$id-3" "$now" "$body")"
is 'lets other events pass' "$status $(member status)" '200 ignored'

deliver "$id-4" "$now" "${paid/42/99}" "v1,$(sign "$id-4" "$now" "$paid")"
is 'refuses a changed body' "$status" 401
deliver "$id-5" "$now" "$paid" "v1,$(sign "$id-4" "$now" "$paid")"
is 'refuses a changed id' "$status" 401
deliver "$id-4" $((now - 600)) "$paid" "v1,$(sign "$id-4" $((now - 600)) "$paid")"
is 'refuses an old one' "$status" 401
call POST /hooks --header 'content-type: application/json' --data "$paid"
is 'refuses one without a signature' "$status" 401
is 'and counts none of them' "$(balance)" $((before + 8400))
