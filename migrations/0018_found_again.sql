-- What happened to one thing, or in one chain, is found without reading all the rest.
--
-- Configuration is rare: an index of its own for each event costs nothing that anybody would notice. Seals, one a second, are
-- the instance's and stay out of it.
create index config_by_subject on log.config (app_id, subject collate "C", position) where app_id is not null;

-- Of everything else a leaf remembers, for every 64 pages, which subjects and roots are certainly not in them (Bloom filters).
-- That is 4 MB a million events; an append does nothing for it, for the last pages are summarized later, a whole range at a
-- time. What is not summarized yet is read. Actors are not in it: each append would have to read its actor's JSON. Positions
-- are, as a sum, so that a part of a leaf is looked for here and not along its primary key, however few events the planner
-- believes to be in that part.
create function log.make_lookup(leaf text) returns void
language plpgsql as $$
begin
    execute format(
        'create index %I on log.%I using brin (
            (position + 0) int8_minmax_ops,
            subject collate "C" text_bloom_ops (n_distinct_per_range = 1000, false_positive_rate = 0.003),
            root uuid_bloom_ops (n_distinct_per_range = 1000, false_positive_rate = 0.003)
        ) with (pages_per_range = 64)',
        leaf || '_lookup', leaf);
end
$$;

-- Summarizes the ranges of a leaf that are full, the newest first, at most so many; how many it were. One that was left out
-- is made up for when the leaf is closed.
create function log.summarize(leaf text, most int) returns int
language plpgsql as $$
declare
    range_bytes bigint := 64 * current_setting('block_size')::bigint;
    range bigint := pg_relation_size(format('log.%I', leaf)) / range_bytes - 1;
    done int := 0;
begin
    while range >= 0 and done < most
        and brin_summarize_range(format('log.%I', leaf || '_lookup')::regclass, range * 64) > 0
    loop
        range := range - 1;
        done := done + 1;
    end loop;
    return done;
end
$$;

-- Makes the segment [low, low + size) behind the last. Leaves are made as tables and then attached: `partition of` would
-- wait behind any long reader of the log, and everybody who appends behind it.
create or replace function log.add_segment(size bigint) returns bigint
language plpgsql as $$
declare
    next_low bigint;
    class text;
    leaf text;
begin
    perform pg_advisory_xact_lock(hashtext('picloud segments'));
    select coalesce(max(high), 1) into next_low from log.segments;
    foreach class in array array['config', 'data', 'run'] loop
        leaf := format('%s_%s', class, next_low);
        execute format('create table log.%I (like log.events including all)', leaf);
        execute format('alter table log.%I add constraint %I primary key (position)', leaf, leaf || '_pkey');
        if class <> 'config' then
            perform log.make_lookup(leaf);
        end if;
        -- Lets the attach skip its scan.
        execute format('alter table log.%I add constraint %I check (class = %L and position >= %s and position < %s)',
            leaf, leaf || '_bounds', class, next_low, next_low + size);
        execute format('alter table log.%I attach partition log.%I for values from (%s) to (%s)',
            class, leaf, next_low, next_low + size);
        execute format('alter table log.%I drop constraint %I', leaf, leaf || '_bounds');
    end loop;
    insert into log.segments (low, high) values (next_low, next_low + size);
    return next_low;
end
$$;

-- Leaves with little in them get theirs now: making it keeps appends waiting. The service makes it for the others once they
-- are closed.
do $$
declare
    leaf text;
begin
    for leaf in
        select format('%s_%s', class, s.low) from log.segments s cross join unnest(s.classes) as class
        where class <> 'config'
            and pg_relation_size(format('log.%I', format('%s_%s', class, s.low))) < 32 * 1024 * 1024
    loop
        perform log.make_lookup(leaf);
    end loop;
end
$$;
