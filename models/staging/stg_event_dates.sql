-- A broken clock stamps events years away, and one such event must not move "today". The log is
-- cut where more than a year passes without an event; the piece with most lines is the log.
with

dates as (

    select
        event_date,
        sum(lines) as accepted_lines
    from {{ ref('stg_line_counts') }}
    where event_date is not null
    group by event_date

),

gaps as (

    select
        *,
        datediff(event_date, lag(event_date) over (order by event_date)) as days_since_previous
    from dates

),

pieces as (

    select
        *,
        count_if(days_since_previous > 365) over (
            order by event_date rows between unbounded preceding and current row
        ) as piece
    from gaps

),

piece_sizes as (

    select
        *,
        sum(accepted_lines) over (partition by piece) as piece_lines
    from pieces

),

event_dates as (

    select
        event_date,
        accepted_lines,
        piece = first_value(piece) over (
            order by piece_lines desc, piece desc, event_date
            rows between unbounded preceding and unbounded following
        ) as is_in_log_period
    from piece_sizes

)

select * from event_dates
