-- What looks wrong in the log: an error keeps the build unpublished, a warning only says so. A
-- build looks at the dates that it changed, those that compare with them, and the files that came
-- with it or with the complete build before. A known outage is accepted with
-- --vars '{accepted_dates: [2018-10-05]}'. One row per finding.
{{ config(warn_if='> 0', error_if='> count_if(severity = 1)') }}

select
    severity,
    message
from {{ ref('stg_log_anomalies') }}
where
    finding = 'rejected_lines' and {{ is_loaded_lately('loaded_at') }}
    or finding in ('missing_date', 'volume') and {{ is_changed_snapshot('event_date') }}
    or finding in ('unknown_pages', 'unknown_plans', 'without_user', 'resumed_sessions')
    and {{ in_tested_dates('event_date') }}
    or finding in ('no_events', 'no_users')
order by severity desc, source_file nulls first, event_date
