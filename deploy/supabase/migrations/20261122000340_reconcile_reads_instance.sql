-- `crossfade reconcile` asks which rows of one process the table still has.
grant select (instance) on public.monitoring_events to crossfade_mirror;
