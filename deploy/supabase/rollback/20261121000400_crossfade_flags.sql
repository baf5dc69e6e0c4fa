-- Undoes the migration of the same name. The flags are gone with it: sidecars fall back to their saved values.
drop table if exists public.crossfade_flags;
drop function if exists crossfade.flags_changed();
