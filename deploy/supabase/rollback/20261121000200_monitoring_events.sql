-- Undoes the migration of the same name. Every stored message is gone with it, partitions included.
drop table if exists public.monitoring_events;
