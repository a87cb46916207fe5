-- Do men and women, paying and free users cancel at different rates?
-- With the 95 % interval of Wilson (Journal of the American Statistical Association 22, 1927).
with

counts as (

    select
        gender,
        level,
        count(*) as users,
        count_if(is_churned) as churned_users,
        1.959964 as z,
        churned_users + z * z / 2 as middle,
        z * sqrt(churned_users * (users - churned_users) / users + z * z / 4) as half_width
    from {{ target.schema }}_published.dim_users
    where gender is not null
    group by grouping sets ((gender), (level), (gender, level))

)

select
    gender,
    level,
    users,
    churned_users,
    churned_users / users as churn_rate,
    (middle - half_width) / (users + z * z) as low,
    (middle + half_width) / (users + z * z) as high
from counts
order by gender nulls last, level nulls last
