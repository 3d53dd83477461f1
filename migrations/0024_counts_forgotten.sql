-- What was counted from a segment of the log goes with it: found without walking all that was ever counted. Rows are updated
-- often, but never in this, so that they can still be written over in their page.
create index invocation_count_by_segment on views.invocation_count (segment);
create index run_minute_by_segment on views.run_minute (segment);
create index outbox_minute_by_segment on views.outbox_minute (segment);
create index error_group_by_segment on views.error_group (segment);
create index activity_by_segment on views.activity (segment);
