-- `runs_by_age` has taken its place.
drop index {schema}.runs_by_end;
