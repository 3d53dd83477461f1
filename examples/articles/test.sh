#!/usr/bin/env bash
# Calls the deployed app and checks what it answers.
APP_HOST=${APP_HOST:-articles.localhost}
source "$(dirname "$0")/../expect.sh"

json='content-type: application/json'

# becomes PATTERN: waits until the page shows that.
becomes() {
    for _ in $(seq 100); do
        call GET /articles/tea
        case $body in *"$1"*) ok "the page becomes $1"; return ;; esac
        sleep 0.1
    done
    fail "the page becomes $1"
}

call PUT /articles/tea --header "$json" --data '{"title": "Tea & more", "text": "Water first."}'
is 'stores an article' "$status" 202
becomes '<h1>Tea &amp; more</h1>'
is 'as a page' "$(header content-type)" 'text/html; charset=utf-8'

call GET /
has 'lists it' "$body" '"tea"'

call PUT /articles/tea --header "$json" --data '{"title": "Coffee", "text": "Water last."}'
becomes '<h1>Coffee</h1>'

call DELETE /articles/tea
is 'removes it' "$status" 202
becomes 'there is no such article'

call PUT /articles/tea --header "$json" --data '{"title": "Tea"}'
is 'refuses one without a text' "$status" 422
