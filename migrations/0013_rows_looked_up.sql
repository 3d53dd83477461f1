-- Rows that a batch names are looked up one by one, whatever the statistics say.
--
-- A join of an array with a table can be computed from either side. Told that the table is all but empty, as a queue is most
-- of the time, the planner begins with the table and reads its whole index, what died in it included; and while a dump holds
-- its snapshot, that is every item there was. (Measured after five minutes of that: a batch took longer than the five seconds
-- it may.) `= any`, and subqueries that `offset 0` keeps apart, leave it no choice; rows that are to be changed are found by
-- their `ctid`.

-- For the same reason: of two indexes with the id in them, the one that begins with the app looked as good for an id alone,
-- and was read from end to end.
drop index state.outbox_by_app;
create index outbox_by_app on state.outbox (app_id, position);

create or replace function log.commit_batch(
    token uuid,
    -- What the caller remembers from its last append, or null. Worth something only while `token` is still the writer's.
    known_head bigint,
    known_at timestamptz,
    -- Refuse to go on when the head is not `known_head`: the caller has checked predicates against events up to there.
    strict boolean,
    epoch uuid,
    -- The triggers that the events were matched against.
    triggers bigint,
    event_id uuid[], event_app uuid[], event_kind text[], event_subject text[], event_data text[], event_actor text[],
    event_cause uuid[], event_root uuid[], event_depth smallint[], event_class text[],
    -- What else there can be; left out where there is none of it.
    read_commit int[] default null, read_app uuid[] default null, read_collection text[] default null,
    read_key text[] default null, read_position bigint[] default null,
    claim_commit int[] default null, claim_scope bytea[] default null, claim_token uuid[] default null,
    claim_outcome bytea[] default null,
    -- `set_anew`: what the value is instead, without an expiry, when `set_expires` has passed: it was increased after it was set.
    set_app uuid[] default null, set_collection text[] default null, set_key text[] default null,
    set_value text[] default null, set_expires timestamptz[] default null, set_anew bigint[] default null,
    set_offset int[] default null,
    -- Rows that are increased as they are, and how far down and up their sums go on the way.
    base_app uuid[] default null, base_collection text[] default null, base_key text[] default null,
    base_low bigint[] default null, base_high bigint[] default null,
    add_app uuid[] default null, add_collection text[] default null, add_key text[] default null,
    add_by bigint[] default null, add_offset int[] default null,
    delete_app uuid[] default null, delete_collection text[] default null, delete_key text[] default null,
    begin_invocation uuid[] default null, begin_app uuid[] default null, begin_offset int[] default null,
    end_invocation uuid[] default null,
    -- Commits that are made in the name of an item, while this node may run it.
    lease_commit int[] default null, lease_item uuid[] default null,
    -- Items that are owed; what they say is in their events. `item_due`: null is now. `item_leased`: this node runs it at once.
    item_id uuid[] default null, item_offset int[] default null, item_lane text[] default null,
    item_priority smallint[] default null, item_due timestamptz[] default null, item_watched boolean[] default null,
    item_leased boolean[] default null, item_gate uuid[] default null,
    -- Items with failed attempts, and when they are due again.
    retry_item uuid[] default null, retry_failed text[] default null, retry_due timestamptz[] default null,
    -- Items that are over, and how.
    end_item uuid[] default null, end_outcome text[] default null,
    -- Proofs for those who may ask what became of an item.
    token_item uuid[] default null, token_hash bytea[] default null,
    out verdict text, out head bigint, out stamped_at timestamptz,
    -- Commits; but the numbers of `base` rows, from 1, that are no integers or whose sums leave the range of one.
    out stale int[], out unclaimed int[], out not_integer int[], out out_of_range int[], out unleased int[]
)
language plpgsql as $$
declare
    locked text;
    last_at timestamptz;
    updated int;
    wrote_last boolean;
    is_valid boolean;
    has_others boolean;
    is_matched boolean;
    lane_app uuid[];
    lane_name text[];
    dead uuid[];
    cancelled uuid[];
begin
    -- An expression, not a query: it spares `perform` its plan.
    locked := pg_advisory_xact_lock(7305804402);

    select w.token = commit_batch.token, w.triggers = commit_batch.triggers,
        exists (select from live.nodes n where n.epoch = commit_batch.epoch and n.revoked_at is null),
        exists (select from live.nodes n where n.epoch <> commit_batch.epoch and n.revoked_at is null)
    into wrote_last, is_matched, is_valid, has_others
    from log.writer w;

    if wrote_last and known_head is not null then
        head := known_head;
        last_at := known_at;
    else
        head := log.find_head();
        select e.at into last_at from log.events e where e.position = commit_batch.head;
    end if;
    stamped_at := greatest(clock_timestamp(), last_at);

    if strict and head is distinct from known_head then
        verdict := 'behind';
        return;
    end if;

    if not is_valid then
        verdict := 'revoked';
        return;
    end if;

    if not is_matched then
        verdict := 'unmatched';
        return;
    end if;

    if cardinality(read_commit) > 0 then
        stale := array(
            select distinct r.commit
            from unnest(read_commit, read_app, read_collection, read_key, read_position)
                as r (commit, app, collection, key, position)
            where r.position <> coalesce(
                (select k.position from state.kv k
                 where k.app_id = r.app and k.collection = r.collection and k.key = r.key
                    -- What has expired is absent, whether it was swept or not.
                    and (r.position <> 0 or k.expires_at is null or k.expires_at > stamped_at)),
                0)
        );
    end if;

    if cardinality(lease_commit) > 0 then
        -- Locked by another: it is being taken away, and who does that must not be waited for.
        unleased := array(
            select l.commit
            from unnest(lease_commit, lease_item) as l (commit, item)
            where not exists (
                select from live.lease x
                where x.item = l.item and x.epoch = commit_batch.epoch
                for update skip locked
            )
        );
    end if;

    if cardinality(claim_commit) > 0 then
        unclaimed := array(
            select c.commit
            from unnest(claim_commit, claim_scope, claim_token) as c (commit, scope, token)
            where not exists (
                select from live.idempotency i
                where i.scope = c.scope and i.claim = c.token and i.outcome is null
                for update
            )
        );
    end if;

    if cardinality(base_app) > 0 then
        -- Compared as numerics: neither the value nor a sum need fit a bigint.
        select array_agg(b.n) filter (where b.value is null),
            array_agg(b.n) filter (where not (
                b.value between -9223372036854775808 and 9223372036854775807
                and b.value + b.low >= -9223372036854775808
                and b.value + b.high <= 9223372036854775807
            ))
        into not_integer, out_of_range
        from (
            select b.n::int, b.low, b.high,
                case when k.value::text ~ '^-?[0-9]{1,19}$' then k.value::text::numeric end as value
            from unnest(base_app, base_collection, base_key, base_low, base_high) with ordinality
                as b (app, collection, key, low, high, n)
            cross join lateral (
                select k.value, k.expires_at from state.kv k
                where k.app_id = b.app and k.collection = b.collection and k.key = b.key
                offset 0
            ) k
            where k.expires_at is null or k.expires_at > stamped_at
        ) b;
    end if;

    if cardinality(stale) > 0 or cardinality(unclaimed) > 0
        or cardinality(not_integer) > 0 or cardinality(out_of_range) > 0 or cardinality(unleased) > 0
    then
        verdict := 'refused';
        return;
    end if;

    if not wrote_last then
        update log.writer w set token = commit_batch.token;
    end if;

    -- By number: PL/pgSQL has unfolded the arrays already, and `unnest` would lay each out as a table of its own first.
    insert into log.events (position, id, at, app_id, kind, subject, data, actor, cause, root, depth, class)
    select commit_batch.head + n, event_id[n], stamped_at, event_app[n], event_kind[n], event_subject[n], event_data[n]::json,
        event_actor[n]::json, event_cause[n], event_root[n], event_depth[n], event_class[n]
    from generate_series(1, cardinality(event_id)) as n;

    if cardinality(set_app) > 0 then
        insert into state.kv as k (app_id, collection, key, value, expires_at, position)
        select s.app, s.collection, s.key,
            case when s.expires <= stamped_at and s.anew is not null then to_json(s.anew) else s.value::json end,
            case when s.expires <= stamped_at and s.anew is not null then null else s.expires end,
            commit_batch.head + s."offset"
        from unnest(set_app, set_collection, set_key, set_value, set_expires, set_anew, set_offset)
            as s (app, collection, key, value, expires, anew, "offset")
        on conflict (app_id, collection, key) do update
        set value = excluded.value, expires_at = excluded.expires_at, position = excluded.position;
    end if;

    if cardinality(add_app) > 0 then
        insert into state.kv as k (app_id, collection, key, value, position)
        select a.app, a.collection, a.key, to_json(a.by), commit_batch.head + a."offset"
        from unnest(add_app, add_collection, add_key, add_by, add_offset) as a (app, collection, key, by, "offset")
        on conflict (app_id, collection, key) do update
        set value = case
                when k.expires_at <= stamped_at then excluded.value
                else to_json(k.value::text::bigint + excluded.value::text::bigint)
            end,
            -- What had expired begins anew, without an expiry.
            expires_at = case when k.expires_at <= stamped_at then null else k.expires_at end,
            position = excluded.position;
    end if;

    if cardinality(delete_app) > 0 then
        delete from state.kv k
        where k.ctid = any (array(
            select x.ctid
            from unnest(delete_app, delete_collection, delete_key) as d (app, collection, key)
            cross join lateral (
                select k.ctid from state.kv k
                where k.app_id = d.app and k.collection = d.collection and k.key = d.key
                offset 0
            ) x
        ));
    end if;

    if cardinality(begin_invocation) > 0 then
        insert into state.running (invocation, app_id, node, position)
        select b.invocation, b.app, commit_batch.epoch, commit_batch.head + b."offset"
        from unnest(begin_invocation, begin_app, begin_offset) as b (invocation, app, "offset");
    end if;

    if cardinality(end_invocation) > 0 then
        delete from state.running r where r.invocation = any (end_invocation);
    end if;

    if cardinality(claim_commit) > 0 then
        update live.idempotency i
        set outcome = c.outcome
        from (
            select x.ctid as place, c.outcome
            from unnest(claim_scope, claim_token, claim_outcome) as c (scope, token, outcome)
            cross join lateral (
                select i.ctid from live.idempotency i where i.scope = c.scope and i.claim = c.token offset 0
            ) x
        ) c
        where i.ctid = c.place;
        get diagnostics updated = row_count;
        if updated <> cardinality(claim_commit) then
            raise exception 'an idempotency claim vanished under its lock';
        end if;
    end if;

    if cardinality(item_id) > 0 then
        insert into state.outbox (id, app_id, lane, priority, due_at, is_watched, gate, position)
        select item_id[n], event_app[o], item_lane[n], item_priority[n], coalesce(item_due[n], stamped_at), item_watched[n],
            item_gate[n], commit_batch.head + o
        from (select n, item_offset[n] as o from generate_series(1, cardinality(item_id)) as n) i;

        insert into live.lease (item, epoch)
        select item_id[n], commit_batch.epoch
        from generate_series(1, cardinality(item_id)) as n
        where item_leased[n];

        -- Nobody has to look for what was handed over; of a lane only the first may run.
        with waiting as (
            select item_id[n] as item, event_app[o] as app_id, item_gate[n] as gate,
                item_priority[n] as priority, item_due[n] as due_at, n
            from (select n, item_offset[n] as o from generate_series(1, cardinality(item_id)) as n) i
            where not item_leased[n]
                and (item_lane[n] is null or not exists (
                    select from state.outbox b
                    where b.app_id = event_app[o] and b.lane = item_lane[n] and b.position < commit_batch.head + o
                ))
        ), later as (
            insert into live.delayed (item, app_id, gate, priority, due_at)
            select w.item, w.app_id, w.gate, w.priority, w.due_at from waiting w where w.due_at > stamped_at
        )
        insert into live.ready (item, app_id, gate, rank)
        select w.item, w.app_id, w.gate, live.next_rank(w.priority)
        from (select * from waiting order by n) w
        where coalesce(w.due_at <= stamped_at, true);
    end if;

    if cardinality(token_item) > 0 then
        insert into live.status_token (item, hash, expires_at)
        select token_item[n], token_hash[n], stamped_at + interval '8 days'
        from generate_series(1, cardinality(token_item)) as n;
    end if;

    if cardinality(retry_item) > 0 then
        update state.outbox b
        set failed = b.failed || r.failed::jsonb, due_at = r.due
        from (
            select x.ctid as place, r.failed, r.due
            from unnest(retry_item, retry_failed, retry_due) as r (item, failed, due)
            cross join lateral (select b.ctid from state.outbox b where b.id = r.item offset 0) x
        ) r
        where b.ctid = r.place;

        -- Nearly always it was leased; what a dead node left may wait elsewhere.
        delete from live.lease l where l.item = any (retry_item);
        delete from live.ready r where r.item = any (retry_item);

        insert into live.delayed (item, app_id, gate, priority, due_at)
        select b.id, b.app_id, b.gate, b.priority, b.due_at
        from state.outbox b where b.id = any (retry_item)
        on conflict (item) do update set due_at = excluded.due_at;
    end if;

    if cardinality(end_item) > 0 then
        -- Nearly all are delivered.
        if 'dead' = any (end_outcome) then
            dead := array(select e.item from unnest(end_item, end_outcome) as e (item, outcome) where e.outcome = 'dead');
        end if;
        if 'cancelled' = any (end_outcome) then
            cancelled :=
                array(select e.item from unnest(end_item, end_outcome) as e (item, outcome) where e.outcome = 'cancelled');
        end if;

        with over as (
            delete from state.outbox b where b.id = any (end_item) returning b.*
        ), told as (
            insert into state.outbox_ended (id, app_id, due_at, failed, position, ended_at, outcome)
            select o.id, o.app_id, o.due_at, o.failed, o.position, stamped_at,
                case when o.id = any (cancelled) then 'cancelled' when o.id = any (dead) then 'dead' else 'delivered' end
            from over o where o.is_watched
        )
        select array_agg(o.app_id), array_agg(o.lane) into lane_app, lane_name from over o where o.lane is not null;

        if cancelled is not null then
            -- These may wait anywhere, and be on their way: from `delayed` to `ready` to `lease`. Whoever moves one holds it until
            -- it has come there, where the next statement finds it.
            delete from live.delayed d where d.item = any (end_item);
            delete from live.ready r where r.item = any (end_item);
        end if;
        delete from live.lease l where l.item = any (end_item);

        if cardinality(lane_app) > 0 then
            with next as (
                select b.id, b.app_id, b.gate, b.priority, b.due_at
                from (select distinct l.app, l.lane from unnest(lane_app, lane_name) as l (app, lane)) l
                cross join lateral (
                    select b.id, b.app_id, b.gate, b.priority, b.due_at
                    from state.outbox b
                    where b.app_id = l.app and b.lane = l.lane
                    order by b.position
                    limit 1
                ) b
                -- The first may be running, or wait already: it was another that was cancelled.
                where not exists (select from live.lease x where x.item = b.id offset 0)
            ), later as (
                insert into live.delayed (item, app_id, gate, priority, due_at)
                select n.id, n.app_id, n.gate, n.priority, n.due_at from next n where n.due_at > stamped_at
                on conflict do nothing
            )
            insert into live.ready (item, app_id, gate, rank)
            select n.id, n.app_id, n.gate, live.next_rank(n.priority) from next n
            where n.due_at <= stamped_at and not exists (select from live.delayed d where d.item = n.id offset 0)
            on conflict do nothing;
        end if;
    end if;

    head := head + cardinality(event_id);
    -- A node hears of its own appends in memory. One that registers while this commits finds it on its first look.
    if has_others then
        perform pg_notify('picloud', head || ' ' || epoch);
    end if;
    verdict := 'committed';
end
$$;
