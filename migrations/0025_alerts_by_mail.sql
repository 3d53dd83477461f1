-- Alerts go to addresses of mail, too. Versions before this one leave such channels out.
alter table state.alert_channel drop constraint alert_channel_kind_known;
alter table state.alert_channel add constraint alert_channel_kind_known check (kind in ('webhook', 'email'));

comment on column state.alert_channel.host is
    'Host and port of the address; of addresses for mail, their hosts. The address itself lies in live.secret_material, under `secret`.';
