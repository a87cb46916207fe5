-- How long do users listen on a day on which they are active?
-- Per active day, as totals stop where a user leaves.
with

users as (

    select
        is_churned,
        try_divide(listening_milliseconds, active_days * 60000) as minutes_per_day
    from {{ target.schema }}_published.dim_users

),

width as (

    -- some twenty bars, whatever the range: the top hundredth shares the last one
    select greatest(1, ceil(percentile(minutes_per_day, 0.99) / 20)) as bin_minutes
    from users

),

bins as (

    select
        users.is_churned,
        cast(
            least(floor(users.minutes_per_day / width.bin_minutes), 20)
            * width.bin_minutes as bigint
        ) as from_minutes,
        cast(width.bin_minutes as bigint) as bin_minutes,
        percentile(users.minutes_per_day, 0.5) over (partition by users.is_churned)
            as median_minutes
    from users
    cross join width

)

select
    is_churned,
    from_minutes,
    bin_minutes,
    median_minutes,
    count(*) as users,
    count(*) / sum(count(*)) over (partition by is_churned) as share_of_group
from bins
group by is_churned, from_minutes, bin_minutes, median_minutes
order by is_churned, from_minutes
