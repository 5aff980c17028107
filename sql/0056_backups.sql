-- A login that row level security is forced upon, as that of a plain owner is, makes backups as service_role: it
-- reads every table, and with these also where each sequence is and which migrations were applied.

grant select on all sequences in schema public to service_role;
grant select on zmartd.schema_migrations to service_role;
create policy service on zmartd.schema_migrations for select to service_role using (true);
