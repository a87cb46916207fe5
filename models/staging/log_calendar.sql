-- Which dates are the log, and which of them are complete: said here only. The rules look at the
-- set of lines, so the order in which files arrive does not matter.
with

dates as (

    select
        event_date,
        sum(lines) as accepted_lines,
        datediff(event_date, lag(event_date) over (order by event_date)) > 365 as is_a_year_later
    from {{ ref('stg_line_counts') }}
    where event_date is not null
    group by event_date

),

weeks as (

    -- a piece is what no year without a line cuts
    select
        *,
        count_if(is_a_year_later) over (order by event_date rows unbounded preceding) as piece,
        count(*) over from_it >= 4
        or sum(accepted_lines) over from_it >= avg(accepted_lines) over () / 10 as can_begin,
        count(*) over up_to_it >= 4
        or sum(accepted_lines) over up_to_it >= avg(accepted_lines) over () / 10 as can_end
    from dates
    window
        from_it as (order by event_date range between current row and 6 following),
        up_to_it as (order by event_date range between 6 preceding and current row)

),

period as (

    -- a first date has a last one: where the log can begin, it can end within that week
    select
        min(case when can_begin then event_date end) as first_date,
        max(case when can_end then event_date end) as last_date
    from weeks
    group by piece
    order by sum(accepted_lines) desc, piece desc
    limit 1

),

log_dates as (

    select
        dates.event_date,
        dates.accepted_lines >= coalesce(avg(dates.accepted_lines) over (
            order by dates.event_date rows between 28 preceding and 1 preceding
        ), 0) / 10 as has_volume
    from dates
    inner join period on dates.event_date between period.first_date and period.last_date

),

calendar as (

    -- complete: it or a later date has volume, and one after that has
    select
        dates.event_date,
        dates.accepted_lines,
        log_dates.event_date is not null as is_in_log_period,
        log_dates.event_date is not null and count_if(log_dates.has_volume) over (
            order by dates.event_date rows between current row and unbounded following
        ) >= 2 as is_complete
    from dates
    left join log_dates on dates.event_date = log_dates.event_date

)

select * from calendar
