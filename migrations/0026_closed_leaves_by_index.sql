-- What happened to one thing, in one chain, by one actor, or in one way is found at once in what is closed, however rare it is.
--
-- To a closed leaf nothing is appended any more, so that indexes cost no append. They are of hashes, which are a third as
-- large as what they stand for, and of buckets of positions, 65536 or 32768: buckets are asked for one after the other, in the order
-- of the list, and so it ends as soon as a page is full.

-- What an event has in common with many others. The bucket is mixed in: so the list of one key is never long, and several keys are
-- intersected in one bucket.
create function log.keys(bucket bigint, app uuid, kind text, actor json) returns bigint[]
language sql immutable parallel safe as $$
    select array[
        uuid_hash_extended(coalesce(app, '00000000-0000-0000-0000-000000000000'), bucket),
        hashtextextended(kind, bucket),
        hashtextextended(actor ->> 'id', bucket)
    ]
$$;

create function log.make_indexes(leaf text) returns void
language plpgsql as $$
begin
    execute format('create index %I on log.%I (hashtext(subject), ((position >> 16)::int))', leaf || '_by_subject', leaf);
    execute format('create index %I on log.%I (uuid_hash(root), ((position >> 16)::int))', leaf || '_by_root', leaf);
    -- The last one: where it is, all are.
    execute format('create index %I on log.%I using gin (log.keys(position >> 15, app_id, kind, actor))',
        leaf || '_by_keys', leaf);
end
$$;
