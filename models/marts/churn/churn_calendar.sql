-- The last date of a log is cut short, and stray events lie behind it: a date is complete when a
-- later one has begun and it holds at least a tenth of the usual number of events.
with

dates as (

    select
        event_date,
        accepted_lines
    from {{ ref('stg_event_dates') }}
    where is_in_log_period

),

usual_volume as (

    select
        event_date,
        accepted_lines,
        avg(accepted_lines) over (
            order by event_date rows between 28 preceding and 1 preceding
        ) as usual_lines,
        lead(event_date) over (order by event_date) as next_event_date
    from dates

),

calendar as (

    select
        min(event_date) as first_event_date,
        max(event_date) as last_event_date,
        max(
            case
                when next_event_date is not null
                    and accepted_lines >= coalesce(usual_lines, 0) / 10
                    then event_date
            end
        ) as last_complete_date
    from usual_volume
    having count(*) > 0

),

with_snapshot as (

    select
        *,
        date_add(last_complete_date, 1) as current_snapshot_date
    from calendar

)

select * from with_snapshot
