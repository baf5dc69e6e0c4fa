-- Undoes the migration of the same name.
drop function if exists public.crossfade_bucket(text, text);
