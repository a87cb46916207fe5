-- What looks wrong in the log: an error keeps the build unpublished, a warning only says so. A
-- build looks at what changed since the build that readers see: at those dates, at those that
-- compare with them, and at files that were loaded after it. A known outage is accepted with
-- --vars '{accepted_dates: [2018-10-05]}'. One row per finding; all dates far from the log are one.
{{ config(group='analytics_engineering', warn_if='> 0', error_if='> count_if(severity = 1)') }}

select
    severity,
    min(message) || if(count(*) > 1, concat(' (and ', count(*) - 1, ' more such date(s))'), '')
        as message
from {{ ref('int_log_anomalies') }}
where
    finding = 'rejected_lines' and {{ is_loaded_since_published('source_file', 'loaded_at') }}
    or finding in ('missing_date', 'volume') and {{ in_tested('event_date', 'snapshots') }}
    or finding in (
        'far_from_the_log', 'unknown_pages', 'unknown_plans', 'without_user', 'resumed_sessions'
    )
    and {{ in_tested('event_date') }}
    or finding in ('no_events', 'no_users')
group by severity, if(finding = 'far_from_the_log', finding, message)
order by severity desc, min(source_file) nulls first, min(event_date)
