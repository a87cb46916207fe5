-- How long are users with the service, from registration to their last event?
with

users as (

    select
        is_churned,
        datediff(last_event_at, registered_at) as lifetime_days
    from {{ target.schema }}_published.dim_users
    where last_event_at >= registered_at

),

width as (

    -- some twenty bars, whatever the range: the top hundredth shares the last one
    select greatest(1, ceil(percentile(lifetime_days, 0.99) / 20)) as bin_days
    from users

),

bins as (

    select
        users.is_churned,
        cast(least(users.lifetime_days div width.bin_days, 20) * width.bin_days as bigint)
            as from_days,
        cast(width.bin_days as bigint) as bin_days,
        percentile(users.lifetime_days, 0.5) over (partition by users.is_churned) as median_days
    from users
    cross join width

)

select
    is_churned,
    from_days,
    bin_days,
    median_days,
    count(*) as users,
    count(*) / sum(count(*)) over (partition by is_churned) as share_of_group
from bins
group by is_churned, from_days, bin_days, median_days
order by is_churned, from_days
