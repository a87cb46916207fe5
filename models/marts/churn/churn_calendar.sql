-- The bounds of `log_calendar`, which has the rules.
with

calendar as (

    select
        min(event_date) as first_event_date,
        max(event_date) as last_event_date,
        max(case when is_complete then event_date end) as last_complete_date,
        date_add(max(case when is_complete then event_date end), 1) as current_snapshot_date
    from {{ ref('log_calendar') }}
    where is_in_log_period
    having count(*) > 0

)

select * from calendar
