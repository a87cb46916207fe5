-- How long are users with the service, and how long do they listen on a day?
-- Lifetime is in days, from registration to the last event. Listening is in minutes per active
-- day, as totals stop where a user leaves.
with

users as (

    select
        'lifetime' as kind,
        is_churned,
        cast(datediff(last_event_at, registered_at) as double) as amount
    from {{ target.schema }}_published.dim_users
    where last_event_at >= registered_at
    union all
    select
        'listening' as kind,
        is_churned,
        try_divide(listening_milliseconds, active_days * 60000) as amount
    from {{ target.schema }}_published.dim_users

),

widths as (

    -- some twenty bars, whatever the range: the top hundredth shares the last one
    select
        kind,
        greatest(1, ceil(percentile(amount, 0.99) / 20)) as bin_size
    from users
    group by kind

),

bins as (

    select
        users.kind,
        users.is_churned,
        cast(least(floor(users.amount / widths.bin_size), 20) * widths.bin_size as bigint)
            as bin_start,
        cast(widths.bin_size as bigint) as bin_size,
        percentile(users.amount, 0.5) over (partition by users.kind, users.is_churned) as median
    from users
    inner join widths on users.kind = widths.kind

)

select
    kind,
    is_churned,
    bin_start,
    bin_size,
    median,
    count(*) as users,
    count(*) / sum(count(*)) over (partition by kind, is_churned) as share_of_group
from bins
group by kind, is_churned, bin_start, bin_size, median
order by kind, is_churned, bin_start
