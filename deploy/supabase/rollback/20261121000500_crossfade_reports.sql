-- Undoes the migration of the same name. The reports are gone with it.
drop table if exists public.crossfade_reports;
