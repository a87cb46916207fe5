-- In which states do most users cancel?
-- With the 95 % interval of Wilson (Journal of the American Statistical Association 22, 1927).
with

counts as (

    select
        state,
        count(*) as users,
        count_if(is_churned) as churned_users,
        1.959964 as z,
        churned_users + z * z / 2 as middle,
        z * sqrt(churned_users * (users - churned_users) / users + z * z / 4) as half_width
    from {{ target.schema }}_published.dim_users
    where state is not null
    group by state

)

select
    state,
    users,
    churned_users,
    churned_users / users as churn_rate,
    (middle - half_width) / (users + z * z) as low,
    (middle + half_width) / (users + z * z) as high
from counts
order by users desc, state
