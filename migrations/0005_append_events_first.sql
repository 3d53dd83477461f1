-- The committer's one call, quicker: calls of scripts that write nothing make batches of nothing but events, so what else there can
-- be has defaults and is left out of their calls; and events are taken from their arrays by number.
--
-- What it does is as in 0004. The function of there has other arguments and stays for nodes of the version before; it goes
-- with a later migration.
create function log.append(
    token uuid,
    -- What the caller remembers from its last append, or null. Worth something only while `token` is still the writer's.
    known_head bigint,
    known_at timestamptz,
    -- Refuse to go on when the head is not `known_head`: the caller has checked predicates against events up to there.
    strict boolean,
    epoch uuid,
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
    out verdict text, out head bigint, out stamped_at timestamptz,
    -- Commits; but the numbers of `base` rows, from 1, that are no integers or whose sums leave the range of one.
    out stale int[], out unclaimed int[], out not_integer int[], out out_of_range int[]
)
language plpgsql as $$
declare
    locked text;
    last_at timestamptz;
    updated int;
    wrote_last boolean;
    is_valid boolean;
    has_others boolean;
begin
    -- An expression, not a query: it spares `perform` its plan.
    locked := pg_advisory_xact_lock(7305804402);

    select w.token = append.token,
        exists (select from live.nodes n where n.epoch = append.epoch and n.revoked_at is null),
        exists (select from live.nodes n where n.epoch <> append.epoch and n.revoked_at is null)
    into wrote_last, is_valid, has_others
    from log.writer w;

    if wrote_last and known_head is not null then
        head := known_head;
        last_at := known_at;
    else
        head := log.find_head();
        select e.at into last_at from log.events e where e.position = append.head;
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
            join state.kv k on k.app_id = b.app and k.collection = b.collection and k.key = b.key
            where k.expires_at is null or k.expires_at > stamped_at
        ) b;
    end if;

    if cardinality(stale) > 0 or cardinality(unclaimed) > 0
        or cardinality(not_integer) > 0 or cardinality(out_of_range) > 0
    then
        verdict := 'refused';
        return;
    end if;

    if not wrote_last then
        update log.writer w set token = append.token;
    end if;

    -- By number: PL/pgSQL has unfolded the arrays already, and `unnest` would lay each out as a table of its own first.
    insert into log.events (position, id, at, app_id, kind, subject, data, actor, cause, root, depth, class)
    select append.head + n, event_id[n], stamped_at, event_app[n], event_kind[n], event_subject[n], event_data[n]::json,
        event_actor[n]::json, event_cause[n], event_root[n], event_depth[n], event_class[n]
    from generate_series(1, cardinality(event_id)) as n;

    if cardinality(set_app) > 0 then
        insert into state.kv as k (app_id, collection, key, value, expires_at, position)
        select s.app, s.collection, s.key,
            case when s.expires <= stamped_at and s.anew is not null then to_json(s.anew) else s.value::json end,
            case when s.expires <= stamped_at and s.anew is not null then null else s.expires end,
            append.head + s."offset"
        from unnest(set_app, set_collection, set_key, set_value, set_expires, set_anew, set_offset)
            as s (app, collection, key, value, expires, anew, "offset")
        on conflict (app_id, collection, key) do update
        set value = excluded.value, expires_at = excluded.expires_at, position = excluded.position;
    end if;

    if cardinality(add_app) > 0 then
        insert into state.kv as k (app_id, collection, key, value, position)
        select a.app, a.collection, a.key, to_json(a.by), append.head + a."offset"
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
        using unnest(delete_app, delete_collection, delete_key) as d (app, collection, key)
        where k.app_id = d.app and k.collection = d.collection and k.key = d.key;
    end if;

    if cardinality(begin_invocation) > 0 then
        insert into state.running (invocation, app_id, node, position)
        select b.invocation, b.app, append.epoch, append.head + b."offset"
        from unnest(begin_invocation, begin_app, begin_offset) as b (invocation, app, "offset");
    end if;

    if cardinality(end_invocation) > 0 then
        delete from state.running r where r.invocation = any (end_invocation);
    end if;

    if cardinality(claim_commit) > 0 then
        update live.idempotency i
        set outcome = c.outcome
        from unnest(claim_scope, claim_token, claim_outcome) as c (scope, token, outcome)
        where i.scope = c.scope and i.claim = c.token;
        get diagnostics updated = row_count;
        if updated <> cardinality(claim_commit) then
            raise exception 'an idempotency claim vanished under its lock';
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
