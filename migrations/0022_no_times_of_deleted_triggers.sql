-- Up to where times were decided about goes with its trigger: nobody asks, and it would be said again for ever.
delete from state.cron c using state.trigger t where t.id = c.trigger_id and t.deleted_at is not null;
