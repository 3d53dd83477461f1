#!/usr/bin/env bash
# Calls the deployed app and checks what it answers.
APP_HOST=${APP_HOST:-counter.localhost}
source "$(dirname "$0")/../expect.sh"

# at_once COUNT PATH: the answers, one a line. Each is echoed whole, so that lines do not run into each other.
at_once() {
    export url="$BASE_URL$2" APP_HOST
    seq "$1" | xargs -P 16 -I{} bash -c \
        'echo "$(curl --silent --fail --max-time 30 --request POST --header "host: $APP_HOST" "$url")"'
}

call GET /
read_modify_write=$(member read_modify_write)
increment=$(member increment)

numbers=$(at_once 100 /read-modify-write | sort -n)
is 'read-modify-write gives each of 100 callers a number' "$numbers" \
    "$(seq $((read_modify_write + 1)) $((read_modify_write + 100)))"

answers=$(at_once 100 /increment | sort -u)
is 'increment answers all of 100 callers' "$answers" '"counted"'

call GET /
is 'no read-modify-write is lost' "$(member read_modify_write)" $((read_modify_write + 100))
is 'no increment is lost' "$(member increment)" $((increment + 100))
